"""Build what a client is sent, and describe what it must send back."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from polyrank.aggregators.aggregator import ServerModel
from polyrank.aggregators.local_rule import LocalRule, slots_sent
from polyrank.lora.factors import Adapter, Factors, first_slots, prefix
from polyrank.lora.int8 import packed
from polyrank.lora.shapes import Compression
from polyrank.protocol.messages import ChangeRule, Download
from polyrank.server.catching_up import CatchingUp
from polyrank.server.rules import Rules
from polyrank.server.state import ServerState


def download_for(
    state: ServerState,
    client: str,
    slots: Mapping[str, Tensor],
    rule: LocalRule,
    *,
    current: bool,
    compression: Compression = "none",
    catching_up: CatchingUp | None = None,
) -> Download:
    """Build a client's download: its slots of the global model, and what its base lacks.

    Args:
        state: whose model is the global one.
        client: who is sent it.
        slots: module -> the slots (r,) that it works with.
        rule: of the round; says which factors are sent.
        current: the client took part in the round before, with these slots.
        compression: how factors and extras travel; what its base lacks travels as it is.
        catching_up: sends steps from the models that clients have; None to send factors whole.
    """
    adapter: Adapter = slots_sent(state.model.adapter, slots, rule, current=current)
    if state.down is not None:
        adapter = first_slots(adapter, state.down)
    # who trained in a round has the base of the round before
    since = max(0, state.trained.get(client, 1) - 1)
    base = state.model.base.patch(since) if state.model.base else None
    download = Download(adapter, state.model.extras, base)
    if catching_up:
        download = catching_up.step(client, download)
    return _travelling(download, compression)


def whole(model: ServerModel, compression: Compression = "none") -> Download:
    """Build a download of a whole model, for a client that has none of it."""
    base = model.base.whole() if model.base else None
    return _travelling(Download(model.adapter, model.extras, base), compression)


def judged(state: ServerState, rules: Rules, compression: Compression = "none") -> Download:
    """Build a download of the global model as it is evaluated."""
    return whole(state.in_use if rules.in_use else state.exported, compression)


def _travelling(download: Download, compression: Compression) -> Download:
    if compression == "none":
        return download
    small = packed(download.adapter, download.extras)
    return replace(download, adapter=small.adapter, extras=small.extras, scales=small.scales)


def expected_change(
    adapter: Adapter, owned: Mapping[str, Tensor], rule: ChangeRule
) -> dict[str, Factors]:
    """Return factors of the names, shapes and types that a change has at its largest rank."""
    found = {}
    for module, own in owned.items():
        f, slots = adapter[module], prefix(rule.largest(len(own)))
        a = torch.empty(len(slots), f.a.shape[1], dtype=f.a.dtype)
        found[module] = Factors(a, torch.empty(len(f.b), len(slots), dtype=f.b.dtype), slots)
    return found


def expected_back(adapter: Adapter, slots: Mapping[str, Tensor], rule: LocalRule) -> Adapter:
    """Return factors of the names, shapes, types and slots that an update must have."""
    return {
        module: adapter[module].sized(own).only(rule.sends)
        for module, own in slots.items()
        if own.numel()
    }
