"""Methods that do not go together, refused before any data are read."""

from typing import TYPE_CHECKING

from polyrank.aggregators import AGGREGATORS
from polyrank.allocators import ALLOCATORS
from polyrank.allocators.needs import Needs
from polyrank.errors import SettingsError
from polyrank.settings.schema import Settings

if TYPE_CHECKING:
    from polyrank.aggregators.aggregator import Aggregator


def check_combination(settings: Settings) -> None:
    """Check that allocator, start and form of the factors suit the aggregator of a run.

    Raises:
        SettingsError: they do not; the message says why.
    """
    _check_held_out(settings)
    aggregator = AGGREGATORS.build(settings.aggregator)
    needs = ALLOCATORS.build(settings.allocator).needs
    named, chooses = settings.aggregator.kind, settings.allocator.kind
    if needs.slots and not aggregator.keeps_slots:
        raise SettingsError(
            f"allocator {chooses!r} chooses slots by their numbers, and aggregator {named!r} "
            f"{_loses(aggregator.rejoin is not None)}, so that a number is another slot in the "
            "next round: expected an aggregator that keeps slots, such as 'rbla'"
        )
    if needs.prunes and aggregator.equal_ranks:
        raise SettingsError(
            f"aggregator {named!r} needs the same rank for all clients, and with allocator "
            f"{chooses!r} they cut theirs one by one"
        )
    if needs.changes is not None and aggregator.of_changes is None:
        raise SettingsError(
            f"allocator {chooses!r} has clients send changes of the product, and aggregator "
            f"{named!r} {_without_changes(aggregator)}: expected one that makes the next model of "
            "products, such as 'anchored'"
        )
    if settings.init_adapter and aggregator.fresh:
        raise SettingsError(
            f"init_adapter: aggregator {named!r} starts every round with new factors; merge the "
            "adapter (polyrank export --merge) and give it as base"
        )
    if settings.adapter.by_rank:
        _check_scaling(chooses, needs, named, aggregator)
    if settings.adapter.parametrisation == "svd" and (why := _without_svd(aggregator)):
        raise SettingsError(
            f"adapter.parametrisation = 'svd': aggregator {named!r} {why}, and an update has three "
            "factors: expected an aggregator that averages slot by slot, such as 'rbla'"
        )


def _check_scaling(chooses: str, needs: Needs, named: str, aggregator: "Aggregator") -> None:
    asked = "adapter.scaling that depends on the rank"
    if needs.slots or needs.prunes or needs.changes or needs.cuts:
        raise SettingsError(
            f"{asked}: with allocator {chooses!r} slots come and go while clients train, and all "
            "that the others have learnt would be scaled anew: expected a number, which holds for "
            "every rank, or an allocator that leaves the ranks as they are, such as 'autorank'"
        )
    if not aggregator.one_unit and aggregator.local(1).view == "all":
        raise SettingsError(
            f"{asked}: with aggregator {named!r}, which averages slot by slot, clients use more "
            "slots than they train, at the scaling of another rank: expected a number"
        )


def _check_held_out(settings: Settings) -> None:
    told = settings.data.client_test > 0 and "examples" in settings.profile
    if settings.evaluation.held_by == "clients" and not told:
        raise SettingsError(
            "evaluation.held_by = 'clients': expected data.client_test above 0 and 'examples' in "
            f"profile, got {settings.data.client_test:g} and {list(settings.profile)}"
        )


def _without_svd(aggregator: "Aggregator") -> str:
    """Return why an aggregator has no use for the third factor, "" where it takes it."""
    if aggregator.changes_base:
        return "adds products of two factors to the base"
    if aggregator.rejoin is not None:
        return "splits products anew into two factors"
    if aggregator.fresh or not aggregator.every_factor:
        return "has clients train or send one factor alone"
    return ""


def _without_changes(aggregator: "Aggregator") -> str:
    if aggregator.every_factor:
        return "averages the factors themselves"
    return "has clients train or send one factor alone"


def _loses(rejoins: bool) -> str:
    return "sorts the slots anew in every round" if rejoins else "draws new slots for every round"
