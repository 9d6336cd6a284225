import pytest
import torch

from polyrank.aggregators import AGGREGATORS
from polyrank.engines.local import LocalEngine
from polyrank.lora.factors import prefix
from polyrank.protocol.messages import Failure, TaskId, Update
from polyrank.runs.preparation import prepare
from polyrank.server.federation import Federation
from polyrank.server.rules import rules_of
from polyrank.server.state import ServerState
from tests.engines.engine_tasks import first_model, tasks
from tests.small import small


@pytest.fixture
def prepared(tmp_path):
    return prepare(small(), tmp_path / "clients")


def test_an_error_in_training_is_a_failure_with_its_reason(prepared):
    engine = LocalEngine(prepared.crew)
    ((task, answer),) = engine.run(tasks(prepared, ["nobody"]))
    assert task.id == answer.id
    assert answer == Failure(TaskId("small", 1, "nobody"), "KeyError: 'nobody'")


def test_training_leaves_torch_s_random_state_and_the_base_alone(prepared):
    state = torch.get_rng_state()
    base = {n: t.clone() for n, t in prepared.server.blueprint.base.items()}
    engine = LocalEngine(prepared.crew)
    list(engine.run(tasks(prepared, ["0", "1"])))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(t, base[n]) for n, t in prepared.server.blueprint.base.items())


def test_one_bad_client_does_not_stop_the_round(prepared):
    """A client whose update holds one NaN is refused and named; the rest are averaged."""

    class Spoiling(LocalEngine):
        def run(self, given, patience):
            for task, answer in super().run(given, patience):
                if isinstance(answer, Update) and answer.id.client == "2":
                    answer.adapter["fc1"].a[0, 0] = float("nan")
                yield task, answer

    federation = Federation(
        rules_of(prepared.server.blueprint.settings),
        AGGREGATORS.build("rbla"),
        Spoiling(prepared.crew),
        {client: len(site.train) for client, site in prepared.sites.items()},
    )
    plan = {c: {m: prefix(3) for m in prepared.server.shapes} for c in "0123"}
    state, record = federation.next_round(ServerState(first_model(prepared), plan))
    refused = {t.client: t.refused for t in record.turns if t.refused}
    assert list(refused) == ["2"]
    assert "factor a: 1 of 192 numbers are NaN" in refused["2"]
    assert all(f.a.isfinite().all() for f in state.model.adapter.values())
    assert set(state.trained) == {"0", "1", "3"}
