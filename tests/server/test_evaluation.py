"""When models are judged, on which rows, and what counts of clients are worth."""

import re
from dataclasses import replace

import pytest
import torch

import polyrank.server.evaluation
from polyrank.aggregators.aggregator import ServerModel, unchanged
from polyrank.lora.factors import prefix, start_factors
from polyrank.protocol.counts import Confusion, Correct, CorrectTokens
from polyrank.protocol.messages import Counted
from polyrank.server.evaluation import ClientEvaluation, ServerEvaluation
from polyrank.server.rules import Rules
from polyrank.server.state import ServerState

CLIENTS = "abcd"
RULES = Rules("r", seed=0, rounds=5)


def start():
    model = ServerModel({"fc": start_factors((5, 7), 6, 0, "fc")}, {"bias": torch.zeros(7)})
    return ServerState(model, {client: {"fc": prefix(2)} for client in CLIENTS})


def judge_of(rows, every=1):
    """A judge of as many validation as test rows, and the list of what it asks."""
    asked = []

    def examine(tasks):
        for task in tasks:
            asked.append(task)
            yield Counted(task.id, Confusion(torch.eye(2, dtype=torch.int64)), 1.0)

    return ServerEvaluation(RULES, examine, rows, rows, every), asked


def test_every_row_is_evaluated_once_in_blocks(monkeypatch):
    monkeypatch.setattr(polyrank.server.evaluation, "BLOCK", 10)
    judge, asked = judge_of(rows=23)
    judge.evaluate(start())
    for part in ("validation", "test"):
        blocks = [(t.start, t.stop) for t in asked if t.part == part]
        assert blocks == [(0, 10), (10, 20), (20, 23)]


def test_the_first_and_the_last_model_are_evaluated_also_where_it_is_not_their_turn():
    judge, _ = judge_of(rows=5, every=3)
    found = [n for n in range(6) if judge.evaluate(replace(start(), round=n)) != (None, None)]
    assert found == [0, 3, 5]


def test_what_is_evaluated_is_the_average_with_its_base():
    state = start()
    change = unchanged(state.model.adapter).stepped({"fc": (torch.ones(7, 5),)})
    extras = {"bias": torch.ones(7)}
    average = ServerModel(state.model.adapter, extras, change)
    judge, asked = judge_of(rows=5)
    judge.evaluate(replace(state, average=average))
    assert len(asked) == 2
    for task in asked:
        assert task.download.extras is extras
        assert torch.equal(task.download.base.totals["fc"], torch.ones(7, 5))


@pytest.mark.parametrize(
    ("counts", "loss", "said"),
    [
        (Confusion(torch.zeros(2, 2, dtype=torch.int64)), 1.0, "0 right of 0"),
        (Confusion(torch.full((2, 2), 5)), 1.0, "right of 20 answers: expected 10 rows"),
        (Confusion(torch.tensor([[11, -1], [0, 0]])), 1.0, "counts"),
        (Confusion(torch.full((2, 2), 2.5)), 1.0, "expected int64"),
        (Confusion(torch.tensor([[3, 10], [0, 0], [0, 0]])), 1.0, r"counts \(3, 2\)"),
        (Confusion(torch.tensor([[3, 10], [0, 0]]).to("meta")), 1.0, "meta"),
        (Confusion([[9, 1], [0, 0]]), 1.0, "expected a plain tensor"),
        (CorrectTokens(4, 3), 1.0, "4 right of 3"),
        (CorrectTokens(0, 0), 1.0, "0 right of 0"),
        (Correct(-1, 10), 1.0, "-1 right of 10"),
        (Correct(3.0, 10), 1.0, "3.0 right of 10"),
        (Correct(3, 11), 1.0, "expected 10 rows"),
        (Correct(3, 10), "x", "loss 'x'"),
        (torch.tensor([[10]]), 1.0, "expected Confusion, Correct, CorrectTokens"),
    ],
)
def test_counts_of_a_client_that_cannot_be_are_told_and_left_out(counts, loss, said):
    good, told = Confusion(torch.tensor([[4, 1], [0, 5]])), []

    class Counting:
        def run(self, tasks, patience):
            for task in tasks:
                bad = task.id.client == "b"
                yield task, Counted(task.id, counts if bad else good, loss if bad else 3.0)

    rows = dict.fromkeys(CLIENTS, 10)
    judge = ClientEvaluation(RULES, Counting(), rows, on_failure=told.append)
    found = list(judge.evaluate(start(), start().model, CLIENTS))
    assert [own.before and own.before["accuracy"] for own in found] == [0.9, None, 0.9, 0.9]
    assert {turn.client for turn in told} == {"b"}
    assert re.search(said, told[0].failed)
