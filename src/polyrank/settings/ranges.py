"""The range of ranks of each module, and its scaling, as settings and shapes allow them."""

from collections.abc import Mapping

from polyrank.aggregators import AGGREGATORS
from polyrank.allocators import ALLOCATORS, ModuleRange
from polyrank.allocators.pruning import Cut
from polyrank.errors import SettingsError
from polyrank.lora.scaling import Scaling
from polyrank.lora.shapes import ModuleShape
from polyrank.settings.schema import Settings


def module_ranges(settings: Settings, shapes: Mapping[str, ModuleShape]) -> dict[str, ModuleRange]:
    """Return each module's rank range; chosen ranks never exceed what the module can use.

    Ranks by hand are taken as given, but for a smallest rank of their module.
    """
    by_hand = ALLOCATORS.build(settings.allocator).needs.by_hand
    ranges = {}
    for name, shape in shapes.items():
        own = settings.ranks.modules.get(name)
        r_max = (own and own.r_max) or settings.ranks.r_max
        r_min = (own and own.r_min) or min(settings.ranks.r_min, r_max)
        if not by_hand:
            r_min, r_max = min(r_min, shape.full_rank), min(r_max, shape.full_rank)
        if r_min > r_max:
            raise SettingsError(f"ranks.modules.{name}: r_min {r_min} is larger than {r_max}")
        parameters = shape.slot_parameters(settings.adapter.parametrisation)
        floor = own.r_min if own and own.r_min else 1
        ranges[name] = ModuleRange(r_min, r_max, parameters, floor)
    return ranges


def scalings(settings: Settings, shapes: Mapping[str, ModuleShape]) -> dict[str, Scaling]:
    """Return by what each module's product is multiplied.

    Allocator and aggregator are built for it only if a scaling depends on the rank.
    """
    adapter = settings.adapter
    own = {name: adapter.modules[name].scaling for name in adapter.modules}
    said = {name: own.get(name, adapter.scaling) for name in shapes}
    if not adapter.by_rank:
        return {name: Scaling(rule.alpha) for name, rule in said.items()}
    one_unit, ranges = (
        AGGREGATORS.build(settings.aggregator).one_unit,
        module_ranges(settings, shapes),
    )
    return {n: Scaling(r.alpha, r.per, ranges[n].r_max, one_unit) for n, r in said.items()}


def cut_of(settings: Settings, shapes: Mapping[str, ModuleShape]) -> Cut | None:
    """Return the rule by which clients cut their ranks, None where the allocator has none."""
    rule = ALLOCATORS.build(settings.allocator).needs.prunes
    if rule is None:
        return None
    least = {name: given.r_min for name, given in module_ranges(settings, shapes).items()}
    return Cut(rule, least)


def unusable_ranks(settings: Settings, ranges: Mapping[str, ModuleRange]) -> list[str]:
    """Say which largest ranks in the settings are above what any of their modules can use."""
    asked: dict[tuple[str, int], list[int]] = {}
    for name, given in ranges.items():
        own = settings.ranks.modules.get(name)
        key = "ranks.r_max", settings.ranks.r_max
        if own and own.r_max:
            key = f"ranks.modules.{name}.r_max", own.r_max
        asked.setdefault(key, []).append(given.r_max)
    return [
        f"{key} = {wanted} is cut to {max(found)}: a module can use no more than its smaller side"
        for (key, wanted), found in asked.items()
        if max(found) < wanted
    ]
