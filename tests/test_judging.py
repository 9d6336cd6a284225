"""What a language model is judged by, on made-up records: round 2 has the best loss."""

import io
import math

import pytest
from rich.console import Console

from polyrank.console.progress import round_text
from polyrank.console.result_table import render
from polyrank.judging import goodness, judged_by, perplexity, perplexity_text
from polyrank.record.run_folder import RunFolder
from polyrank.record.summary import summarize
from polyrank.runs.model_card import model_card
from polyrank.settings.toml import make_settings
from tests.written import a_round, about_client, some_facts


def metrics(loss, accuracy):
    value = None if loss is None else perplexity(loss)
    return {"perplexity": value, "loss": loss, "accuracy": accuracy}


LOSSES = {0: (3.0, 0.1), 1: (2.0, 0.6), 2: (1.0, 0.4), 3: (1.5, 0.5), 4: (None, 0.9)}
ROUNDS = [
    a_round(
        round=number,
        cohort=["a", "b"],
        validation=metrics(loss, accuracy),
        test=metrics(None if loss is None else loss + 1, accuracy),
    )
    for number, (loss, accuracy) in LOSSES.items()
]
PROFILES = [
    about_client(
        {
            "event": "profile",
            "client": name,
            "ranks": {"fc": 2},
            "score": 0.5,
            "examples": {"train": 4, "test": 1},
            "label_counts": [4],
        }
    )
    for name in ("a", "b")
]
FINALS = [
    about_client({"event": "final", "client": client, "before": before, "global": shared} | own)
    for client, before, shared, own in (
        ("a", metrics(3.0, 0.1), metrics(2.0, 0.1), {"personal": metrics(1.0, 0.1)}),
        ("b", None, metrics(2.5, 0.9), {"personal": metrics(2.0, 0.9)}),
    )
]
SETTINGS = make_settings({"model": {"kind": "mlp"}})


def summarized(rounds, finals=FINALS):
    return summarize(SETTINGS, rounds, [*PROFILES, *finals], some_facts(label_names=["0"]))


@pytest.fixture(scope="module")
def summary():
    return summarized(ROUNDS[:4])


def test_the_best_round_is_that_of_the_smallest_validation_loss(summary):
    """Round 1 has the most tokens right, round 2 the smallest loss; test losses are 1 more."""
    expected = {"final": math.exp(2.5), "best": math.exp(2.0), "best_round": 2}
    assert summary.as_json()["perplexity"] == pytest.approx(expected)
    assert summary.as_json()["accuracy"] == {"final": 0.5, "best": 0.4, "best_round": 2}


def test_of_rounds_that_are_equally_good_the_first_is_the_best():
    again = [*ROUNDS[:4], ROUNDS[2].model_copy(update={"round": 4})]
    assert summarized(again).perplexity.best_round == 2


def test_a_loss_that_is_not_finite_is_never_the_best(summary):
    ended = summarized(ROUNDS)
    assert ended.perplexity.best_round == 2
    assert ended.perplexity.final is None
    assert goodness({"perplexity": math.nan, "loss": math.nan}) == -math.inf


def test_the_worst_client_has_the_largest_loss_though_the_most_tokens_right(summary):
    assert summary.worst_client.final == pytest.approx(math.exp(2.5))
    assert summary.worst_client.client == "b"


def test_personal_models_are_told_by_exp_of_their_mean_loss(summary):
    assert summary.personal.mean == pytest.approx(math.exp(1.5))
    broken = [FINALS[0], FINALS[1].model_copy(update={"personal": metrics(None, 0.2)})]
    assert summarized(ROUNDS, broken).personal.mean is None


def test_a_classifier_is_judged_by_accuracy():
    assert judged_by({"accuracy": 0.5, "loss": 9.0}) == judged_by(None) == "accuracy"
    assert goodness({"accuracy": 0.5, "loss": 9.0}) == 0.5


def test_what_is_printed_speaks_of_perplexity(summary, tmp_path):
    assert "  perplexity 7.39  loss 2.0000" in round_text(ROUNDS[2], 3, 10)
    RunFolder(tmp_path).append("clients", [*PROFILES, *FINALS])
    RunFolder(tmp_path).write_summary(summary)
    console = Console(file=io.StringIO(), width=80)
    render(tmp_path, console)
    said = console.file.getvalue()
    assert "Ranks by module; perplexity on the client's own test rows" in " ".join(said.split())
    assert "perplexity    12.18 at the end, 7.39 in round 2, the best on validation" in said
    assert "worst client  12.18 (client b)" in said
    assert "accuracy" not in said
    assert "F1" not in said
    rows = [line.split() for line in said.splitlines()]
    assert ["client", "examples", "score", "fc", "before", "global", "own"] in rows
    assert ["a", "4", "0.500", "2", "20.09", "7.39", "2.72"] in rows


def test_the_card_speaks_of_perplexity(summary):
    far = summary.perplexity.model_copy(update={"final": perplexity(800.0)})
    diverged = summary.model_copy(update={"perplexity": far})
    card = model_card(SETTINGS, {"fc": 2}, 3, client=None, merged=False, summary=diverged)
    assert "| perplexity | 1.01e+304 |" in card
    card = model_card(SETTINGS, {"fc": 2}, 3, client=None, merged=False, summary=summary)
    assert "| perplexity | 12.1825 |\n| loss in nats a token | 2.5000 |" in card
    assert "| worst client's perplexity | 12.1825 |" in card
    assert "accuracy" not in card


def test_the_card_of_a_client_has_its_own_numbers_too(summary):
    """Perplexities are exp of 1, 2 and 3 nats."""
    card = model_card(
        SETTINGS, {"fc": 2}, 3, client="a", merged=False, summary=summary, final=FINALS[0]
    )
    told = card.partition("On this client's own test rows, perplexity:")[2]
    assert "| this model | 2.7183 |" in told
    assert "| the global model | 7.3891 |\n| before training | 20.0855 |" in told


def test_perplexities_that_are_no_longer_numbers_to_read_are_short():
    assert [perplexity_text(x) for x in (1.0, 12345.678, 1e6, perplexity(2000.0))] == [
        "1.00",
        "12345.68",
        "1.00e+06",
        "1.01e+304",
    ]
