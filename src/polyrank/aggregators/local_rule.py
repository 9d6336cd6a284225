"""What a method changes on the clients' side, and who has which factor already."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor

from polyrank.lora.factors import ALL, Adapter, Factors, Parts, prefix

Penalty: TypeAlias = Callable[[Sequence[tuple[Tensor, Tensor]]], Tensor]


@dataclass(frozen=True)
class LocalRule:
    """What clients do in one round.

    Args:
        trains: the factors that training changes.
        sends: those that go to the server.
        receives: those that come from the server.
        changed: those that the round before has changed, if that is less than ``receives``: all
            that a client needs that took part in it.
        absent: where a client finds a factor that was not sent: ``start``, drawn from the seed
            before the first round; ``fresh``, drawn from the seed for this round; ``own``, what
            its last training left, or the start.
        view: ``own`` slots are sent; or ``all``, of which a client trains its own.
        penalty: added to the loss, from the pairs ``a`` (r, d_in) and ``b`` (d_out, r).
    """

    trains: Parts = ALL
    sends: Parts = ALL
    receives: Parts = ALL
    changed: Parts | None = None
    absent: Literal["start", "fresh", "own"] = "start"
    view: Literal["own", "all"] = "own"
    penalty: Penalty | None = None

    @property
    def every_factor(self) -> bool:
        """Whether clients train, send and are sent every factor."""
        return {self.trains, self.sends, self.receives, self.changed or ALL} == {ALL}


def slots_sent(
    adapter: Adapter, slots: Mapping[str, Tensor], rule: LocalRule, *, current: bool
) -> dict[str, Factors]:
    """Return what of the global adapter goes to a client.

    Args:
        adapter: the global one.
        slots: module -> the slots that the client owns.
        rule: of the round.
        current: the client took part in the round before, with these slots.
    """
    parts = rule.changed if current and rule.changed is not None else rule.receives
    sent = {}
    for module, own in slots.items():
        if own.numel():
            wanted = prefix(adapter[module].rank) if rule.view == "all" else own
            sent[module] = adapter[module].only(parts).take(wanted)
    return sent
