"""Facts of the federation whose need is known."""

import facts_data
import pytest
import torch

from polyrank.datasets.jsonl import jsonl


def subjects(facts):
    return {(fact.given, fact.family) for fact in facts}


def test_no_subject_is_asked_for_twice_nor_known_to_the_base():
    known, own = facts_data.draw_facts([300, 500], 3)
    lists = [known, *own]
    assert [len(facts) for facts in lists] == [facts_data.PUBLIC, 300, 500]
    assert len(set.union(*map(subjects, lists))) == sum(map(len, lists))


def test_a_seed_draws_other_facts_of_clients_and_the_same_public_ones():
    known, own = facts_data.draw_facts([50], 0)
    assert (known, own) == facts_data.draw_facts([50], 0)
    others, other = facts_data.draw_facts([50], 1)
    assert others == known
    assert len(subjects(own[0]) & subjects(other[0])) < 10


def test_an_object_follows_from_nothing_else():
    _, (facts,) = facts_data.draw_facts([2000], 0)
    shares = torch.bincount(torch.tensor([fact.object for fact in facts]), minlength=64) / 2000
    assert shares.max() < 2 / 64
    by_family = {}
    for fact in facts:
        by_family.setdefault((fact.family, fact.relation), []).append(fact.object)
    pairs = [objects[:2] for objects in by_family.values() if len(objects) > 1]
    assert sum(a == b for a, b in pairs) < 0.05 * len(pairs)


def test_more_facts_than_subjects_are_refused():
    with pytest.raises(ValueError, match="at most 2048 facts of all clients, got 2049"):
        facts_data.draw_facts([2000, 49], 0)


def test_rows_are_questions_with_answers_of_named_clients(tmp_path):
    _, (few, many) = facts_data.draw_facts([1, 2], 0)
    facts_data.write_rows(tmp_path / "rows.jsonl", [("few", few, 4), ("many", many, 1)])
    data = jsonl(str(tmp_path / "rows.jsonl"), group="client")
    assert data.train_x[0] == {"prompt": few[0].prompt, "completion": f" {few[0].answer}"}
    assert list(data.train_x[:4]) == [data.train_x[0]] * 4
    assert data.train_groups.tolist() == ["few"] * 4 + ["many"] * 2


def test_a_word_is_a_token_and_no_text_is_ended():
    _, (facts,) = facts_data.draw_facts([20], 0)
    tokenizer = facts_data.make_tokenizer()
    questions, objects = facts_data.encoded(facts, tokenizer)
    assert (questions.shape, objects.shape) == ((20, 3), (20,))
    assert tokenizer.unk_token_id not in {*questions.flatten().tolist(), *objects.tolist()}
    assert tokenizer.eos_token_id is None


def test_a_fact_counts_as_recalled_if_its_object_is_the_likeliest_token():
    _, (facts,) = facts_data.draw_facts([400], 0)
    tokenizer, model = facts_data.make_tokenizer(), facts_data.make_model(16)
    with torch.no_grad():  # at random it would answer all else rather than objects
        model.lm_head.weight[: -facts_data.OBJECTS] = 0
    right = 0
    for fact in facts:
        ids = torch.tensor([tokenizer(fact.prompt)["input_ids"]])
        said = model(ids).logits[0, -1].argmax()
        right += tokenizer.convert_ids_to_tokens(int(said)) == fact.answer
    assert 0 < right < 40
    assert facts_data.recalled(model, facts, tokenizer) == right
