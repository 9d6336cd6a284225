"""Rows that clients hold back choose the best round, where the server has none."""

import json
import re
from dataclasses import replace

import pytest

import polyrank
from polyrank.aggregators.aggregator import ServerModel
from polyrank.engines.local import LocalEngine
from polyrank.errors import SettingsError
from polyrank.protocol.counts import Confusion, Correct
from polyrank.protocol.messages import EvaluateTask, Failure, TaskId
from polyrank.runs.preparation import first_adapter, prepare
from polyrank.server.downloads import whole
from polyrank.server.held_out import HeldOut
from polyrank.server.rules import rules_of
from polyrank.server.state import ServerState
from tests.small import small

BY_CLIENTS = {"evaluation": {"held_by": "clients"}}


@pytest.fixture(scope="module")
def prepared():
    return prepare(small(**BY_CLIENTS), None)


@pytest.fixture(scope="module")
def state(prepared):
    model = ServerModel(first_adapter(small(), prepared.server.shapes), prepared.server.extras)
    return ServerState(model, {}, round=2)


class Answering:
    """An engine that gives some clients' answers itself."""

    def __init__(self, engine, own=()):
        self.engine, self.own = engine, dict(own)

    def run(self, tasks, patience=None):
        for task, answer in self.engine.run(tasks):
            yield task, self.own.get(task.id.client, lambda answer: answer)(answer)


def rounds_of(folder):
    return [json.loads(text) for text in (folder / "rounds.jsonl").read_text().splitlines()]


def one_label(counts):
    return Confusion(counts.counts.sum().reshape(1, 1))


def held_out(prepared, own=()):
    failures = []
    rows = {client: len(site.test) for client, site in prepared.sites.items()}
    engine = Answering(LocalEngine(prepared.crew), own)
    rules = rules_of(prepared.server.blueprint.settings)
    return HeldOut(rules, engine, rows, 10, failures.append), failures


def test_counts_of_all_clients_are_added_up_and_their_bytes_counted(prepared, state):
    judge, failures = held_out(prepared)
    metrics, cost = judge.judge(state)
    tasks = [EvaluateTask(TaskId("x", 2, c), whole(state.model)) for c in prepared.sites]
    answers = [answer for _, answer in judge.engine.run(tasks)]
    counts = sum(answer.counts.counts for answer in answers)
    rows = sum(len(site.test) for site in prepared.sites.values())
    assert int(counts.sum()) == rows
    assert metrics["accuracy"] == pytest.approx(int(counts.diag().sum()) / rows)
    assert metrics["loss"] == pytest.approx(sum(answer.loss for answer in answers) / rows)
    assert (cost.down, cost.up) == (4 * whole(state.model).nbytes, 4 * 8 * (10 * 10 + 1))
    assert not failures


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (lambda a: Failure(a.id, "no power"), "no power"),
        (lambda a: replace(a, id=TaskId("small", 1, a.id.client)), "answers"),
        (lambda a: replace(a, counts=Correct(1, 99)), "1 right of 99 answers: expected .* rows"),
        (lambda a: replace(a, counts=a.counts.correct), "expected Confusion as from the others"),
        (lambda a: replace(a, counts=one_label(a.counts)), "expected 10 labels"),
        (lambda a: "nonsense", "sent str"),
    ],
)
def test_what_cannot_be_added_is_left_out_and_named(prepared, state, bad, said):
    last = list(prepared.sites)[-1]
    judge, failures = held_out(prepared, {last: bad})
    metrics, _ = judge.judge(state)
    (turn,) = failures
    assert turn.client == last
    assert re.match(f"its own test rows, for the best round: .*{said}", turn.failed)
    without, _ = replace(judge, client_rows={**judge.client_rows, last: 0}).judge(state)
    assert metrics == without


def test_a_run_names_the_best_round_and_trains_as_one_without_validation_rows(tmp_path):
    source = {"source": "tests.small:tiny_digits", "validation": 0}
    plain = polyrank.run(small(data=source), out=tmp_path / "plain")
    chosen = polyrank.run(small(**BY_CLIENTS), out=tmp_path / "chosen")
    old, new = (rounds_of(run.folder) for run in (plain, chosen))
    assert [line["train_loss"] for line in old] == [line["train_loss"] for line in new]
    assert [line["test"] for line in old] == [line["test"] for line in new]
    assert plain.summary["accuracy"]["best_round"] is None
    best = max(new, key=lambda line: (line["validation"]["accuracy"], -line["round"]))
    assert chosen.summary["accuracy"]["best_round"] == best["round"]
    assert all(line["bytes"]["down"] > 0 for line in new)
    assert new[1]["bytes"]["up"] == old[1]["bytes"]["up"] + 4 * 8 * (10 * 10 + 1)


def test_clients_without_test_rows_cannot_choose_the_round(tmp_path):
    data = {"source": "tests.small:tiny_digits", "client_test": 0}
    with pytest.raises(SettingsError, match=r"held_by = 'clients': expected data\.client_test"):
        polyrank.run(small(data=data, **BY_CLIENTS), out=tmp_path / "never")
