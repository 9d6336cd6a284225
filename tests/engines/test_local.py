import os
import signal
from dataclasses import replace

import pytest
import torch
from tests.small import small

from polyrank.adapter import prefix, start_factors
from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import ServerModel
from polyrank.engines.local import LocalEngine
from polyrank.federation import Federation, ServerState
from polyrank.messages import Download, Failure, TaskId, TrainTask, Update
from polyrank.preparation import prepare


@pytest.fixture
def prepared(tmp_path):
    return prepare(small(), tmp_path / "clients")


def first_model(prepared) -> ServerModel:
    adapter = {n: start_factors((s.d_in, s.d_out), 6, 0, n) for n, s in prepared.shapes.items()}
    return ServerModel(adapter, prepared.extras)


def tasks(prepared, clients, rate=0.01):
    model = first_model(prepared)
    download = Download({m: f.take(prefix(3)) for m, f in model.adapter.items()}, model.extras)
    return [TrainTask(TaskId("small", 1, client), download, rate) for client in clients]


def test_answers_come_in_the_order_of_the_tasks(prepared):
    engine = LocalEngine(prepared.workload, workers=2)
    try:
        answers = list(engine.run(tasks(prepared, ["2", "0", "3", "1", "0", "2", "1", "3"])))
    finally:
        engine.close()
    assert [a.id.client for a in answers] == ["2", "0", "3", "1", "0", "2", "1", "3"]
    assert all(isinstance(a, Update) for a in answers)


def test_tasks_are_read_as_they_are_needed(prepared):
    """At most AHEAD tasks a worker are out, so memory does not grow with the cohort."""
    read = []

    def lazily():
        for task in tasks(prepared, ["0"] * 40):
            read.append(task)
            yield task

    engine = LocalEngine(prepared.workload, workers=2)
    try:
        answers = engine.run(lazily())
        next(answers)
        assert len(read) <= 9
        assert len(list(answers)) == 39
    finally:
        engine.close()


def test_one_slow_task_ahead_of_many_quick_ones_holds_nobody_up_for_ever(prepared):
    """The quick ones fill all places ahead of their turn; then the slow one ends alone."""
    workload = replace(
        prepared.workload,
        clients={"slow": (torch.arange(20).repeat(200), torch.arange(0)),
                 "quick": (torch.arange(1), torch.arange(0))},
    )  # fmt: skip
    engine = LocalEngine(workload, workers=2)
    try:
        answers = list(engine.run(tasks(prepared, ["slow", *["quick"] * 30])))
    finally:
        engine.close()
    assert [a.id.client for a in answers] == ["slow", *["quick"] * 30]


def test_an_error_in_training_is_a_failure_with_its_reason(prepared):
    engine = LocalEngine(prepared.workload)
    (answer,) = engine.run(tasks(prepared, ["nobody"]))
    assert answer == Failure(TaskId("small", 1, "nobody"), "KeyError: 'nobody'")


def test_a_dead_worker_costs_one_update_and_the_round_goes_on(prepared):
    engine = LocalEngine(prepared.workload, workers=2)
    try:
        assert engine._pool is not None
        victim = next(iter(engine._pool._workers.values()))
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
        answers = list(engine.run(tasks(prepared, ["0", "1", "2", "3"])))
    finally:
        engine.close()
    lost = [a for a in answers if isinstance(a, Failure)]
    assert [a.reason for a in lost] == ["the worker process died (exit code -9)"]
    assert len(answers) == 4


def test_training_leaves_torch_s_random_state_and_the_base_alone(prepared):
    state = torch.get_rng_state()
    base = {n: t.clone() for n, t in prepared.workload.base.items()}
    engine = LocalEngine(prepared.workload)
    list(engine.run(tasks(prepared, ["0", "1"])))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(t, base[n]) for n, t in prepared.workload.base.items())


def test_one_bad_client_does_not_stop_the_round(prepared):
    """A client whose update holds one NaN is refused and named; the rest are averaged."""

    class Spoiling(LocalEngine):
        def run(self, given):
            for answer in super().run(given):
                if isinstance(answer, Update) and answer.id.client == "2":
                    answer.adapter["fc1"].a[0, 0] = float("nan")
                yield answer

    engine = Spoiling(prepared.workload)
    federation = Federation(
        prepared.workload.settings,
        AGGREGATORS.make("rbla", {})(),
        engine,
        validation_rows=len(prepared.splits.validation),
        test_rows=len(prepared.data.test_y),
    )
    plan = {c: {m: prefix(3) for m in prepared.shapes} for c in "0123"}
    state, record = federation.next_round(ServerState(first_model(prepared), plan))
    refused = {t.client: t.refused for t in record.turns if t.refused}
    assert list(refused) == ["2"]
    assert "factor a: 1 of 192 numbers are NaN" in refused["2"]
    assert all(f.a.isfinite().all() for f in state.model.adapter.values())
    assert set(state.trained) == {"0", "1", "3"}
