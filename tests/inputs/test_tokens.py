import itertools

import numpy as np
import pytest
import torch

from polyrank.errors import DataError
from polyrank.inputs.tokenizing import encode_texts
from polyrank.inputs.tokens import TokenExamples
from tests.texts import model_path, needs_demo

TEXTS = [[5, 6, 7], [8], [9, 10], [11, 12, 13, 14]]


def examples(starts: list[int] | None = None) -> TokenExamples:
    return TokenExamples.from_lists(TEXTS, np.array([0, 1, 0, 1]), pad=3, starts=starts)


def test_a_batch_is_padded_to_its_own_longest_text():
    inputs, labels = examples().batch(torch.tensor([2, 0]))
    assert inputs["input_ids"].tolist() == [[9, 10, 3], [5, 6, 7]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert labels.tolist() == [0, 0]
    assert {t.dtype for t in (*inputs.values(), labels)} == {torch.int64}


def test_what_comes_before_the_start_and_the_padding_is_not_to_be_predicted():
    _, labels = examples([1, 0, 2, 3]).batch(torch.tensor([0, 1, 2, 3]))
    o = -100
    assert labels.tolist() == [[o, 6, 7, o], [8, o, o, o], [o, o, o, o], [o, o, o, 14]]


def test_blocks_hold_every_row_once_and_no_more_than_4096_tokens_with_padding():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 600, (300,), generator=generator).tolist()
    many = TokenExamples.from_lists([[1] * n for n in lengths], np.zeros(300, int), 0)
    rows = torch.arange(50, 300)
    blocks = list(many.blocks(rows))
    assert sorted(torch.cat(blocks).tolist()) == rows.tolist()
    sizes = [many.batch(block)[0]["input_ids"].numel() for block in blocks]
    assert max(sizes) <= 4096
    assert len(blocks) < 40


def cheapest(lengths: list[int], most: int, call_cost: float) -> float:
    """Try every way to cut falling lengths into runs."""
    cuts = itertools.product((False, True), repeat=len(lengths) - 1)
    costs = []
    for cut in cuts:
        ends = [k + 1 for k, here in enumerate(cut) if here] + [len(lengths)]
        starts = [0, *ends[:-1]]
        if all(e - s <= most for s, e in zip(starts, ends, strict=True)):
            pairs = zip(starts, ends, strict=True)
            costs.append(sum((e - s) * lengths[s] + call_cost for s, e in pairs))
    return min(costs)


@pytest.mark.parametrize(("least", "call_cost"), [(1, 0), (1, 5), (1, 16), (1, 1e9), (3, 16)])
def test_parts_of_a_batch_are_the_cheapest_runs_of_falling_lengths(least, call_cost):
    lengths = torch.randint(1, 40, (50,), generator=torch.Generator().manual_seed(0)).tolist()
    many = TokenExamples.from_lists([[1] * n for n in lengths], np.zeros(50, int), 0)
    rows = torch.randperm(50, generator=torch.Generator().manual_seed(1))[:11]
    parts = many.parts(rows, least, call_cost)
    assert sorted(torch.cat(list(parts)).tolist()) == sorted(rows.tolist())
    most = -(-len(rows) // least)
    assert max(map(len, parts)) <= most
    falling = sorted((lengths[row] for row in rows.tolist()), reverse=True)
    cost = sum(many.batch(part)[0]["input_ids"].numel() + call_cost for part in parts)
    assert cost == cheapest(falling, most, call_cost)


def test_shared_examples_are_the_same():
    shared = examples([1, 0, 2, 3]).share_memory()
    assert shared.ids.is_shared()
    inputs, labels = shared.batch(torch.tensor([0]))
    assert inputs["input_ids"].tolist() == [[5, 6, 7]]
    assert labels.tolist() == [[-100, 6, 7]]


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_path())


SENTENCES = np.array(["Hello world", "one two three four five six seven", ""], dtype=object)
LABELS = np.array([0, 1, 0])


@needs_demo
def test_tokens_are_those_of_the_tokeniser_and_cut_texts_are_counted(tokenizer):
    """[CLS] is 101 and [SEP] is 102; a cut text keeps both."""
    encoded = encode_texts(SENTENCES, LABELS, tokenizer, 5, 0)
    inputs, labels = encoded.examples.batch(torch.arange(3))
    for row, text in enumerate(SENTENCES):
        wanted = tokenizer(text, truncation=True, max_length=5)["input_ids"]
        assert inputs["input_ids"][row].tolist() == wanted + [0] * (5 - len(wanted))
        assert (wanted[0], wanted[-1]) == (101, 102)
    assert labels.tolist() == [0, 1, 0]
    assert encoded.cut == 1


@needs_demo
def test_texts_are_tokenised_once(tokenizer, tmp_path, monkeypatch):
    first = encode_texts(SENTENCES, LABELS, tokenizer, 5, 0, tmp_path)
    monkeypatch.setattr(
        "polyrank.inputs.tokenizing._tokenized", lambda *_: pytest.fail("tokenised anew")
    )
    again = encode_texts(SENTENCES, LABELS, tokenizer, 5, 0, tmp_path)
    assert torch.equal(first.examples.ids, again.examples.ids)
    assert torch.equal(first.examples.offsets, again.examples.offsets)
    assert (again.cut, again.max_length) == (1, 5)


@needs_demo
def test_another_length_or_another_text_is_not_taken_from_the_cache(tokenizer, tmp_path):
    encode_texts(SENTENCES, LABELS, tokenizer, 5, 0, tmp_path)
    longer = encode_texts(SENTENCES, LABELS, tokenizer, 6, 0, tmp_path)
    assert int(longer.examples.lengths.max()) == 6
    other = np.array(["Goodbye", *SENTENCES[1:]], dtype=object)
    changed = encode_texts(other, LABELS, tokenizer, 5, 0, tmp_path)
    assert changed.examples.ids.tolist()[1:2] == tokenizer("Goodbye")["input_ids"][1:2]


@needs_demo
def test_a_damaged_cache_is_made_anew(tokenizer, tmp_path):
    first = encode_texts(SENTENCES, LABELS, tokenizer, 5, 0, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:50])
    again = encode_texts(SENTENCES, LABELS, tokenizer, 5, 0, tmp_path)
    assert torch.equal(first.examples.ids, again.examples.ids)


def test_numbers_are_no_texts():
    with pytest.raises(DataError, match="this model takes texts"):
        encode_texts(np.zeros((2, 3), np.float32), LABELS[:2], None, 5, 0)
