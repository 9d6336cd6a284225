"""Choose what of a training is sent, and what is left for the next time.

Three steps, of which the first and the last may be left out: a change is cut to the rank that it
needs; factors that the method does not send are left out; the rest is rounded to eight bits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from polyrank.lora.changes import CutChange, cut_change, with_rounding
from polyrank.lora.factors import Adapter, Factors, Parts, Tensors, of_parts
from polyrank.lora.int8 import Packed, is_packed, packed, packed_parts
from polyrank.protocol.messages import TrainTask


@dataclass(frozen=True)
class Outgoing:
    """What a training comes to.

    Args:
        sent: as it travels.
        owed: module -> what was not sent, for the next time.
        shares: module -> share of its change that is sent, where changes are cut.
    """

    sent: Packed
    owed: Adapter = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)


def owes(task: TrainTask, keeps_slots: bool) -> bool:
    """Tell whether what a task leaves unsent is kept: slots must be what they were before."""
    return task.change is not None or (task.compression == "int8" and keeps_slots)


def outgoing(
    task: TrainTask,
    sends: Parts,
    before: Adapter,
    after: Adapter,
    extras: Tensors,
    owed: Adapter,
    keeps_slots: bool,
) -> Outgoing:
    """Choose what is sent.

    Args:
        task: says how a change is cut and how it travels.
        sends: the factors that go to the server.
        before: the slots as training began.
        after: as it ended, fewer of them where some are given up.
        extras: as training left them.
        owed: what the last rounds have left.
        keeps_slots: whether slot j of one round is slot j of the next.
    """
    cuts = _cuts(task, before, after, owed)
    whole = {m: cut.sent for m, cut in cuts.items()} if task.change else after
    adapter = {m: f.only(sends) for m, f in whole.items()}
    left: Adapter = {m: cut.left for m, cut in cuts.items()}
    shares = {m: cut.share for m, cut in cuts.items()}
    if task.compression == "none":
        return Outgoing(Packed(adapter, extras), left, shares)
    began = task.download.opened()[1]
    moved = {n: t - began[n] if is_packed(t) else t for n, t in extras.items()}
    if task.change:
        sent = packed(adapter, moved)
        came, _ = sent.opened()
        left = {m: with_rounding(left[m], f, came[m]) for m, f in adapter.items()}
        return Outgoing(sent, left, shares)
    kept = {m: _kept(before[m].take(f.slots), owed.get(m)) for m, f in adapter.items()}
    steps = {m: _difference(f, before[m].take(f.slots), kept[m]) for m, f in adapter.items()}
    sent = packed(steps, moved)
    came, _ = sent.opened()
    lost = {m: _lost(f, came[m], kept[m]) for m, f in steps.items()} if keeps_slots else {}
    return Outgoing(sent, lost)


def _cuts(task: TrainTask, before: Adapter, after: Adapter, owed: Adapter) -> dict[str, CutChange]:
    """Cut each module's change as the task says, with what the last rounds have left."""
    rule = task.change
    if rule is None:
        return {}
    weight = rule.feedback ** (task.id.round - (task.last or 0))
    return {
        m: cut_change(
            before[m],
            f,
            (owed[m], weight) if m in owed and weight else None,
            error=rule.error,
            most=rule.largest(f.rank),
        )
        for m, f in after.items()
    }


def _kept(like: Factors, owed: Factors | None) -> Factors:
    """Return what is owed of some slots, 0 of those that were not the client's before."""
    # copies: a file may hold no tensor twice
    none = of_parts({p: torch.zeros_like(t) for p, t in like.tensors.items()}, like.slots.clone())
    return none.overlaid(owed) if owed else none


def _difference(after: Factors, before: Factors, kept: Factors) -> Factors:
    found = dict(after.tensors)
    for part in packed_parts(after):
        found[part] = found[part] - before.tensors[part] + kept.tensors[part]
    return of_parts(found, after.slots)


def _lost(sent: Factors, came: Factors, kept: Factors) -> Factors:
    """Return what rounding has lost; of factors that were not sent now, what was lost before."""
    found = dict(kept.tensors)
    for part in packed_parts(sent):
        found[part] = sent.tensors[part] - came.tensors[part]
    return of_parts(found, kept.slots)
