"""What an allocator needs of a run: one declaration that it carries.

A function of one's own needs nothing unless it is decorated: ``@Needs(criteria=True)``. A class
with ``step`` has it as its field ``needs``. Nothing here imports torch; the tensors that an
observer works on bring their methods along.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from typing import TYPE_CHECKING, Generic, ParamSpec, Protocol

from polyrank.allocators.observing import Observer
from polyrank.errors import SettingsError

if TYPE_CHECKING:
    from polyrank.allocators.choice import Choice
    from polyrank.lora.factors import Factors

P = ParamSpec("P")


class Pruning(Protocol):
    """How a client gives up its last slots of a module before it sends them."""

    def kept(self, rank: int) -> int:
        """Return how many slots it keeps of so many where it gives some up."""
        ...

    def gives_up(self, before: "Factors", after: "Factors") -> bool:
        """Tell whether it does, from its factors before and after training."""
        ...


@dataclass(frozen=True)
class Changes:
    """How changes of the product are sent in place of factors (``polyrank.lora.changes``).

    Args:
        feedback: what a client has not sent counts in its next change with this weight a round.
        download_error: share of the squared norm of the step from the model that a client has to
            the one there is that the server need not send; 0 for whole models.
        at_full_rate: slots that a client trains at the learning rate of the settings; None for
            any number of them. See ``rate``.
    """

    feedback: float = 1.0
    download_error: float = 0.0
    at_full_rate: int | None = None

    def rate(self, slots: int) -> float:
        """Return by what the learning rate of a client with so many slots is multiplied.

        A step of all slots together is longer the more there are, so that a rate that suits few
        diverges with many: it falls by the square root of how many times as many they are, as
        rsLoRA scales adapters (https://arxiv.org/abs/2312.03732).

        Example:
            >>> Changes(at_full_rate=16).rate(64), Changes(at_full_rate=16).rate(4)
            (0.5, 1.0)
        """
        most = self.at_full_rate or slots
        return 1.0 if slots <= most else math.sqrt(most / slots)


@dataclass(frozen=True)
class Needs:
    """What a run must do for an allocator.

    Args:
        criteria: clients measure the criteria of the settings, for ``Evidence.criteria``.
        spectra: clients measure how their modules' inputs vary, for ``Evidence.spectra``.
        once: criteria and spectra are measured for the first choice alone.
        by_hand: its ranks are taken as given, also above min(d_in, d_out).
        slots: it may choose slots by their numbers (``Choice.slots``), so that a number must mean
            the same slot in every round.
        observes: a function of a module's factors before and after training, with the same slots
            and on the client, that gives one number a slot (r,); or what watches the training
            itself (``polyrank.allocators.observing``). They are sent with the update, for
            ``Evidence.observed``; the factors before are those that training began with.
        prunes: clients give up slots by this rule, and ``Evidence.sent`` says how many came.
        changes: how clients and server send changes of the product, cut to the rank that they
            need (``Choice.errors``); None where they send their factors.
        cuts: slots of the server, rounds finished, rounds of the run -> the numbers of slots to
            which the global model is cut, for ``Evidence.cuts``.

    Raises:
        SettingsError: it observes and prunes: what would be observed is given up.
    """

    criteria: bool = False
    spectra: bool = False
    once: bool = False
    by_hand: bool = False
    slots: bool = False
    observes: Observer | None = None
    prunes: Pruning | None = None
    changes: Changes | None = None
    cuts: Callable[[int, int, int], Sequence[int]] | None = None

    def __post_init__(self) -> None:
        if self.observes and self.prunes:
            raise SettingsError("expected an allocator that observes or prunes, got one with both")

    @property
    def every_round(self) -> bool:
        """Whether it is asked after every round, unless ``ranks.refresh_every`` says otherwise."""
        return any((self.observes, self.prunes, self.cuts))

    def __call__(self, chooser: "Callable[P, Choice]") -> "Declared[P]":
        """Declare what a chooser needs."""
        return Declared(chooser, self)


NOTHING = Needs()


class Declared(Generic[P]):
    """A chooser that says what it needs; called as the function itself.

    Args:
        chooser: the function.
        needs: what it needs.
    """

    __name__: str
    __qualname__: str

    def __init__(self, chooser: "Callable[P, Choice]", needs: Needs) -> None:
        update_wrapper(self, chooser)
        self.chooser, self.needs = chooser, needs

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> "Choice":
        """Choose."""
        return self.chooser(*args, **kwargs)


def needs_of(chooser: object) -> Needs:
    """Return what a function or an object says it needs; nothing where it says nothing."""
    needs = getattr(chooser, "needs", None)
    return needs if isinstance(needs, Needs) else NOTHING
