"""What clients do under each method, on the real model, against the dense computation."""

import torch

from polyrank.lora.factors import prefix
from tests.aggregators.one_client import first, prepared


def logits_of_dense(ready, adapter, change=None):
    """The two-layer model written out, with merged weights."""
    base = {n: t.double() for n, t in ready.server.blueprint.base.items()}
    x = ready.server.rows["validation"].examples.batch(torch.arange(20))[0].double().flatten(1)
    for module in ("fc1", "fc2"):
        f = adapter[module]
        weight = base[f"{module}.weight"] + f.b.double() @ f.a.double()
        weight = weight + (change[module].double() if change else 0.0)
        x = x @ weight.T + base[f"{module}.bias"]
        x = x.relu() if module == "fc1" else x
    return x


def test_frozen_slots_and_the_change_of_the_base_are_in_the_forward_pass(tmp_path):
    ready = prepared(tmp_path)
    trainer = ready.crew.performer().trainer
    bridge, adapter = trainer.model.bridge, first(ready)
    inputs = ready.server.rows["validation"].examples.batch(torch.arange(20))[0]
    change = {m: 0.1 * torch.randn(len(f.b), f.a.shape[1]) for m, f in adapter.items()}
    own = {m: f.take(prefix(2)) for m, f in adapter.items()}
    frozen = {m: f.without(prefix(2)) for m, f in adapter.items()}
    for split in (False, True):
        given = own if split else adapter
        bridge.load(given, ready.server.extras, frozen=frozen if split else None, change=change)
        expected = logits_of_dense(ready, adapter, change)
        torch.testing.assert_close(bridge.model(inputs).double(), expected, atol=1e-4, rtol=1e-4)
    bridge.load(adapter, ready.server.extras)
    torch.testing.assert_close(
        bridge.model(inputs).double(), logits_of_dense(ready, adapter), atol=1e-4, rtol=1e-4
    )
    for module, weight in ready.server.blueprint.base.items():
        if module.endswith("weight"):
            assert torch.equal(bridge._weights[module.removesuffix(".weight")], weight)
