"""Models with buffers, in the round loop without a run folder around it."""

import pytest

from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import ServerModel
from polyrank.engines.local import LocalEngine
from polyrank.lora.factors import prefix
from polyrank.runs.preparation import first_adapter, prepare
from polyrank.server.evaluation import ServerEvaluation
from polyrank.server.federation import Federation
from polyrank.server.rules import rules_of
from polyrank.server.state import ServerState
from polyrank.server_optimizers import SERVER_OPTIMIZERS
from polyrank.threads import one_thread
from tests.small import small

CNN = {"model": {"kind": "cnn", "widths": [2, 3]}, "training": {"steps": 5, "batch_size": 8}}


def federation(folder, rank=2, **changes):
    """A federation, and the state before its first round; every client has the same slots."""
    settings = small(**changes)
    ready = prepare(settings, folder / "clients")
    engine = LocalEngine(ready.crew)
    made = Federation(
        rules_of(settings),
        AGGREGATORS.build(settings.aggregator),
        engine,
        {client: len(site.train) for client, site in ready.sites.items()},
        buffers=ready.server.buffers,
        optimizer=SERVER_OPTIMIZERS.build(settings.server_optimizer),
    )
    plan = {c: {m: prefix(rank) for m in ready.server.shapes} for c in ready.sites}
    judge = ServerEvaluation(made.rules, engine.examine, 0, 20)
    model = ServerModel(first_adapter(settings, ready.server.shapes), ready.server.extras)
    return made, judge, ServerState(model, plan)


@pytest.mark.parametrize("optimizer", list(SERVER_OPTIMIZERS))
@pytest.mark.parametrize("aggregator", list(AGGREGATORS))
def test_a_model_with_batch_norm_stays_a_model(tmp_path, aggregator, optimizer):
    """Momentum and the average once went past the running variance, below zero: all NaN."""
    rounds, judge, state = federation(
        tmp_path, aggregator=aggregator, server_optimizer=optimizer, average=0.8, **CNN
    )
    for _ in range(4):
        with one_thread():
            state, record = rounds.next_round(state)
        assert not any(turn.refused or turn.failed for turn in record.turns)
        assert judge.evaluate(state)[1]["loss"] < 20
        for model in (state.model, state.exported):
            variances = [t for n, t in model.extras.items() if n.endswith("running_var")]
            assert len(variances) == 4
            assert all((v > 0).all() and v.isfinite().all() for v in variances)
