from dataclasses import fields

import torch

from polyrank.aggregators.aggregator import ServerModel, unchanged
from polyrank.disk.checkpoint import load_tensors, save_tensors
from polyrank.lora.factors import Factors, prefix
from polyrank.server.saved_state import pack_state, unpack_state
from polyrank.server.state import ServerState


def model(seed):
    """With a base that two steps have changed, one of them kept as factors."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape):
        return torch.randn(shape, generator=generator)

    adapter = {"fc": Factors(drawn(3, 20), drawn(30, 3), prefix(3))}
    base = unchanged(adapter).stepped({"fc": (drawn(30, 20),)})
    base = base.stepped({"fc": (drawn(30, 1), drawn(1, 20))})
    return ServerModel(adapter, {"bias": drawn(4), "count": torch.tensor(seed)}, base)


def tensors_of(model):
    factors, base = model.adapter["fc"], model.base
    recent = [t for step in base.recent.get("fc", ()) for t in step]
    whole = [factors.a, factors.b, factors.slots, *model.extras.values(), base.totals["fc"]]
    return base.version, whole + recent


STATE = ServerState(
    model(1),
    {"a": {"fc": prefix(2)}, "b": {"fc": torch.tensor([0, 2])}},
    round=7,
    trained={"a": 7, "b": 3},
    planned=6,
    memory={"m/fc/a": torch.ones(3, 20)},
    average=model(2),
    allocator={"a": {"fc": 2}},
    observed={"a": {"fc": ([0, 3], [0.5, 0.1])}},
    sent={"a": {"fc": 2}},
    suspect="round 2 took an update",
    down=3,
)


def test_a_state_that_was_saved_comes_back_whole(tmp_path):
    """Every field of it; none has its default here, so that none can be forgotten."""
    empty = ServerState(STATE.model, STATE.plan)
    assert [f.name for f in fields(STATE) if getattr(STATE, f.name) is getattr(empty, f.name)] == [
        "model",
        "plan",
    ]
    save_tensors(tmp_path / "state", *pack_state(STATE))
    back = unpack_state(*load_tensors(tmp_path / "state"))
    for name in ("round", "trained", "planned", "allocator", "observed", "sent", "suspect", "down"):
        assert getattr(back, name) == getattr(STATE, name)
    assert {c: of["fc"].tolist() for c, of in back.plan.items()} == {"a": [0, 1], "b": [0, 2]}
    assert torch.equal(back.memory["m/fc/a"], STATE.memory["m/fc/a"])
    for kept, came in ((STATE.model, back.model), (STATE.average, back.average)):
        (version, mine), (same, theirs) = tensors_of(kept), tensors_of(came)
        assert (version, len(mine)) == (same, len(theirs)) == (2, 8)
        assert all(map(torch.equal, mine, theirs))
