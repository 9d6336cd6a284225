"""Methods that do not go together, refused before any data are read."""

from polyrank.aggregators import AGGREGATORS
from polyrank.allocators import ALLOCATORS
from polyrank.errors import SettingsError
from polyrank.settings.schema import Settings


def check_combination(settings: Settings) -> None:
    """Check that the allocator and the start of a run suit its aggregator.

    Raises:
        SettingsError: they do not; the message says why.
    """
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
    if settings.init_adapter and aggregator.fresh:
        raise SettingsError(
            f"init_adapter: aggregator {named!r} starts every round with new factors; merge the "
            "adapter (polyrank export --merge) and give it as base"
        )


def _loses(rejoins: bool) -> str:
    return "sorts the slots anew in every round" if rejoins else "draws new slots for every round"
