"""What an aggregator is: a fold over updates, and what its paper promises of the result.

A fold takes updates one by one, so that the server's memory does not grow with the number
of clients. Most methods treat each module by itself: they write a ``ModuleFold`` and
``PerModule`` lifts it to whole updates, with the mean of the extras beside it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from torch import Tensor

from polyrank.aggregators.changed_product import ChangedProduct
from polyrank.aggregators.local_rule import LocalRule
from polyrank.aggregators.sums import ExtrasMean, wide
from polyrank.errors import ShapeError
from polyrank.lora.base_change import BaseChange, Step, no_change
from polyrank.lora.factors import Adapter, Factors, Tensors
from polyrank.lora.low_rank import Product
from polyrank.protocol.messages import Update

S = TypeVar("S")

ClientWeights: TypeAlias = Literal["examples", "equal"]


@dataclass(frozen=True)
class ServerModel:
    """The global model: an adapter with all r_max slots of each module, and the extras.

    Args:
        adapter: module -> factors.
        extras: trained tensors that are not LoRA.
        base: what aggregation has added to the frozen base, if the method does.
    """

    adapter: Adapter
    extras: Tensors
    base: BaseChange | None = None


@dataclass(frozen=True)
class Moved:
    """Factors, and what goes into the base beside them.

    Args:
        factors: the next ones.
        step: added to the base: ``b`` (d_out, n) and ``a`` (n, d_in), or the sum (d_out, d_in).
    """

    factors: Factors
    step: Step


class Fold(Protocol[S]):
    """One pass over updates; ``add`` may change its state in place, never its inputs."""

    def init(self, previous: ServerModel) -> S:
        """Start from nothing."""

    def add(self, state: S, update: Update) -> S:
        """Take in one update."""

    def finish(self, state: S, previous: ServerModel) -> ServerModel:
        """Return the next global model."""


class ModuleFold(Protocol[S]):
    """One pass over the factors of one module."""

    def init(self, previous: Factors) -> S:
        """Start from nothing."""

    def add(self, state: S, factors: Factors | None, client_weight: float) -> S:
        """Take in one client's factors; None where the client does not have the module."""

    def finish(self, state: S, previous: Factors) -> Factors | Moved:
        """Return the next factors."""


@dataclass(frozen=True)
class Aggregator:
    """What a paper calls its method; all but ``fold`` has a default.

    Args:
        fold: how updates become the next model.
        contracts: what it keeps of ``exact`` (the mean of the products), ``basis_free``
            (no matter which basis a client's factors are in), ``slot_wise`` (a slot that
            nobody owned keeps its value) and ``linear_sum`` (a function of sums over
            clients, as secure aggregation computes them); the contract tests run on these.
        local: round, from 1 -> what clients train, send and are sent in it.
        rejoin: for a method whose slots mean nothing one by one: how a product becomes the
            factors of the server. None: slot j of one round is slot j of the next.
        expecting: a fold for the slots of those clients that may answer, for a method that
            needs less memory when it knows them.
        equal_ranks: whether all clients must own the same slots.
        changes_base: whether the fold adds to the base.
        reads_products: whether it looks at products of single clients, though it averages factors.
    """

    fold: Fold[Any]
    contracts: frozenset[str] = frozenset()
    local: Callable[[int], LocalRule] = lambda round: LocalRule()
    rejoin: Callable[[Product, Factors], Factors] | None = None
    expecting: Callable[[ServerModel, Sequence[Mapping[str, Tensor]]], Fold[Any]] | None = None
    equal_ranks: bool = False
    changes_base: bool = False
    reads_products: bool = False

    @property
    def of_changes(self) -> Fold[Any] | None:
        """The fold where clients send changes of the product; None where it needs their factors."""
        if self.rejoin is not None and isinstance(self.fold, PerModule):
            return replace(self.fold, module=ChangedProduct(self.rejoin), own={})
        # new factors start with a product of 0: what a client sends is its change already
        return self.fold if self.fresh and self.changes_base else None

    @property
    def fresh(self) -> bool:
        """Whether every round starts with factors that are drawn for it."""
        return self.local(1).absent == "fresh"

    @property
    def keeps_slots(self) -> bool:
        """Whether slot j of one round is slot j of the next."""
        return self.rejoin is None and not self.fresh

    @property
    def one_unit(self) -> bool:
        """Whether factors of clients with different ranks must come at one scaling.

        That is so where the method is about products; one that averages slot by slot takes them as
        training has them.
        """
        promised = self.contracts & {"exact", "basis_free"}
        return bool(promised) or self.reads_products or not self.keeps_slots

    @property
    def every_factor(self) -> bool:
        """Whether clients train, send and are sent every factor, in odd and in even rounds."""
        return all(self.local(number).every_factor for number in (1, 2))


def aggregate(
    aggregator: Aggregator, updates: Iterable[Update], previous: ServerModel
) -> ServerModel:
    """Fold updates into the next global model; ``updates`` are read once."""
    state = aggregator.fold.init(previous)
    for update in updates:
        state = aggregator.fold.add(state, update)
    return aggregator.fold.finish(state, previous)


def fold_module(
    fold: ModuleFold[S], updates: Iterable[tuple[Factors, float]], previous: Factors
) -> Factors:
    """Fold one module's (factors, client weight) pairs; ``updates`` are read once."""
    moved = fold_moved(fold, updates, previous)
    return moved.factors if isinstance(moved, Moved) else moved


def fold_moved(
    fold: ModuleFold[S], updates: Iterable[tuple[Factors, float]], previous: Factors
) -> Factors | Moved:
    """As ``fold_module``, with what goes into the base."""
    state = fold.init(previous)
    for factors, client_weight in updates:
        state = fold.add(state, factors, client_weight)
    return fold.finish(state, previous)


@dataclass(frozen=True)
class PerModule:
    """Lift a ``ModuleFold`` to a ``Fold``; extras become their weighted mean.

    Args:
        module: the fold of a module.
        own: module -> a fold of its own.
        client_weights: a client's weight in the means of factors and extras: its number of
            training examples, or the same for all.
    """

    module: ModuleFold[Any]
    own: Mapping[str, ModuleFold[Any]] = field(default_factory=dict)
    client_weights: ClientWeights = "examples"

    def of(self, name: str) -> ModuleFold[Any]:
        """Return the fold of a module."""
        fold: ModuleFold[Any] = self.own.get(name, self.module)
        return fold

    def init(self, previous: ServerModel) -> dict[str, Any]:
        """One state a module, and one for the extras."""
        modules = {name: self.of(name).init(f) for name, f in previous.adapter.items()}
        return {"modules": modules, "extras": ExtrasMean()}

    def add(self, state: dict[str, Any], update: Update) -> dict[str, Any]:
        """Take in one update."""
        modules = state["modules"]
        weight = 1.0 if self.client_weights == "equal" else update.examples
        for name in modules:
            modules[name] = self.of(name).add(modules[name], update.adapter.get(name), weight)
        state["extras"].add(update.extras, weight)
        return state

    def finish(self, state: dict[str, Any], previous: ServerModel) -> ServerModel:
        """Return the next global model."""
        adapter: dict[str, Factors] = {}
        steps: dict[str, Step] = {}
        for name, factors in previous.adapter.items():
            found = self.of(name).finish(state["modules"][name], factors)
            if isinstance(found, Moved):
                steps[name] = found.step
            adapter[name] = found.factors if isinstance(found, Moved) else found
            came, form = adapter[name].parametrisation, factors.parametrisation
            if came != form:
                raise ShapeError(
                    f"module {name!r}: expected aggregated factors in form {form!r}, got {came!r}"
                )
        base = (previous.base or unchanged(previous.adapter)).stepped(steps) if steps else None
        return ServerModel(adapter, state["extras"].finish(previous.extras), base)


def unchanged(adapter: Adapter) -> BaseChange:
    """Return the change of a base that nothing has been added to yet."""
    first = next(iter(adapter.values()))
    return no_change({m: (len(f.b), f.a.shape[1]) for m, f in adapter.items()}, wide(first.a))
