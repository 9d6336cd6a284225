"""Which runs a comparison is made of, checked before any of them starts.

All arms have the help of the server that the settings have (its optimiser and running mean),
whatever the aggregator's own recipe says, unless an arm changes that itself. An arm that names a
recipe has all of that recipe's help.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

from polyrank.api import check_methods, check_no_source, with_given
from polyrank.errors import SettingsError, nearest
from polyrank.server_optimizers import SERVER_OPTIMIZERS
from polyrank.settings.combinations import check_combination
from polyrank.settings.controls import CONTROLS, control
from polyrank.settings.schema import Settings
from polyrank.settings.toml import changed_keys, make_settings, override, put, read_document

NO_MATTER = frozenset({"name", "recipe", "workers", "task_timeout", "device", "trackers"})
OTHERWISE = {  # keys that a comparison sets itself
    "seed": "seeds, which all arms have",
    "name": "the arm's own name",
    "workers": "jobs; each run has one process",
}
HELP = ("server_optimizer", "average")
RATE = "training.learning_rate"
CONTROL = "control "  # begins the names of controls, and of nothing else
ONE_RANK = ("uniform", "level")
FIRST_TUNING_SEED = 100


@dataclass(frozen=True)
class Variant:
    """An arm before it is run.

    Args:
        name: no other arm has it.
        settings: with the seed and learning rate that the settings have.
        tuned: whether its learning rate is tuned.
    """

    name: str
    settings: Settings
    tuned: bool = False

    def of(self, seed: int, rate: float | None = None) -> Settings:
        """Return the settings of one run; without a rate, at that of the settings."""
        training = self.settings.training
        if rate is not None:
            training = training.model_copy(update={"learning_rate": rate})
        return self.settings.model_copy(update={"seed": seed, "training": training})


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Args:
        variants: all arms, the one that the others are compared with first, controls last.
        seeds: of the runs that are compared.
        tuning_seeds: of the runs that choose learning rates, none of ``seeds``.
        notes: what a person should know, such as a control that cannot be.
    """

    variants: Sequence[Variant]
    seeds: Sequence[int]
    tuning_seeds: Sequence[int]
    notes: Sequence[str]

    @property
    def tuned(self) -> list[Variant]:
        """The arms whose learning rates are tuned."""
        return [variant for variant in self.variants if variant.tuned]


def planned(
    settings: Settings | Mapping[str, Any] | str | Path,
    *,
    overrides: Sequence[str],
    arms: Mapping[str, Mapping[str, Any]] | None,
    seeds: int | Sequence[int],
    against: str | None,
    controls: bool,
    tune: bool,
    tune_seeds: int = 1,
    data: object = None,
) -> Plan:
    """Plan a comparison; see ``polyrank.compare``.

    Raises:
        SettingsError: an arm cannot be, is another one again, or is not there.
    """
    document = _document(settings, overrides)
    if data is not None:
        if not isinstance(settings, Settings):
            check_no_source(document)
        document = with_given(document, data)
    base = make_settings(document, "settings")
    variants = [
        Variant(name, _settings(document, base, name, changes), tuned=tune)
        for name, changes in _checked({base.name: {}} if arms is None else arms, tune).items()
    ]
    variants = _first(variants, against)
    _check_distinct(variants)
    for variant in variants if data is not None else ():
        if variant.settings.data.options != base.data.options:
            raise SettingsError(
                f"arm {variant.name!r}: data are handed over, and read once for all arms: expected "
                "no arm that reads them in another way"
            )
    notes: list[str] = []
    if controls:
        variants += _controls(variants[0], notes, tune=tune)
    for variant in variants:
        _check(variant)
    chosen = _seeds(seeds, base.seed)
    free = (seed for seed in count(FIRST_TUNING_SEED) if seed not in chosen)
    return Plan(variants, chosen, [*islice(free, tune_seeds)], notes)


def _document(
    settings: Settings | Mapping[str, Any] | str | Path, overrides: Sequence[str]
) -> dict[str, Any]:
    if isinstance(settings, str | Path):
        return read_document(settings, overrides)
    given = settings.model_dump(exclude_none=True) if isinstance(settings, Settings) else settings
    document = deepcopy({**given})
    for text in overrides:
        override(document, text)
    return document


def _checked(arms: Mapping[str, Mapping[str, Any]], tune: bool) -> Mapping[str, Mapping[str, Any]]:
    if not arms:
        raise SettingsError("arms: expected at least one, got none")
    for name, changes in arms.items():
        if name.startswith(CONTROL):
            raise SettingsError(f"arm {name!r}: that is how controls are named: expected another")
        if not isinstance(changes, Mapping):
            raise SettingsError(
                f"arm {name!r}: expected a mapping from keys of the settings to values, got "
                f"{type(changes).__name__}"
            )
        for key in changes:
            if said := OTHERWISE.get(key.partition(".")[0]):
                raise SettingsError(f"arm {name!r}: {key}: that is set by {said}")
            if tune and key in (RATE, "training"):
                raise SettingsError(
                    f"arm {name!r}: {key} is varied, and learning rates are tuned for each arm: "
                    "expected --no-tune (tune=False), or no arm that sets it"
                )
    return arms


def _settings(
    document: Mapping[str, Any], base: Settings, name: str, changes: Mapping[str, Any]
) -> Settings:
    """Return the settings of an arm, with the server's help that all have."""
    made = deepcopy({**document})
    if "recipe" not in changes:
        dumped = base.model_dump(exclude_none=True)
        for key in ("recipe", *HELP):
            made.setdefault(key, dumped[key])
    else:
        for key in HELP:
            made.pop(key, None)
        if isinstance(training := made.get("training"), dict):
            training.pop("clip_norm", None)
    where = f"arm {name!r}"
    try:
        for key, value in changes.items():
            put(made, key, value)
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from error
    return make_settings({**made, "name": name, "workers": 1}, where)


def _first(variants: list[Variant], against: str | None) -> list[Variant]:
    """Return the arms with the one first that the others are compared with."""
    names = [variant.name for variant in variants]
    if against is not None and against not in names:
        raise SettingsError(
            f"--against {against!r}: there is no such arm{nearest(against, names)}; expected one "
            f"of {', '.join(map(repr, names))}"
        )
    return sorted(variants, key=lambda variant: against is not None and variant.name != against)


def _check_distinct(variants: Sequence[Variant]) -> None:
    for at, variant in enumerate(variants):
        for other in variants[:at]:
            changed = changed_keys(variant.settings, other.settings)
            if not [key for key in changed if key.partition(".")[0] not in NO_MATTER]:
                raise SettingsError(
                    f"arms {other.name!r} and {variant.name!r} are the same settings: expected "
                    "arms that differ in what a run comes to"
                )


def _controls(first: Variant, notes: list[str], *, tune: bool) -> list[Variant]:
    """Return the controls of the first arm; one that it cannot have is noted with the reason."""
    made = []
    for kind in CONTROLS:
        if kind == "uniform" and first.settings.allocator.kind in ONE_RANK:
            notes.append(f"no control uniform: {first.name} has one rank for all already")
            continue
        try:
            settings = control(first.settings, kind)
        except SettingsError as error:
            notes.append(f"no control {kind}: {error}")
            continue
        name = f"{CONTROL}{kind}"
        settings = settings.model_copy(update={"name": name, "workers": 1})
        made.append(Variant(name, settings, tuned=tune))
    return made


def _check(variant: Variant) -> None:
    """Raise the error that a run of these settings would end with before it begins."""
    settings, where = variant.settings, f"arm {variant.name!r}"
    try:
        check_methods(settings, here=True)
        check_combination(settings)
        SERVER_OPTIMIZERS.build(settings.server_optimizer)
    except SettingsError as error:
        raise type(error)(f"{where}: {error}") from error
    asked = settings.evaluation
    rows = settings.data.validation or asked.held_by == "clients" or not asked.global_model
    if variant.tuned and not rows:
        raise SettingsError(
            f"{where}: data.validation = 0 leaves nothing to choose a learning rate by: expected "
            "validation rows, or --no-tune (tune=False)"
        )


def _seeds(given: int | Sequence[int], own: int) -> tuple[int, ...]:
    """Return the seeds that are compared; of a number of them, from the settings' own on."""
    if isinstance(given, int):
        found: list[object] = [*range(own, own + given)]
    else:
        found = [*given]
    good = [seed for seed in found if isinstance(seed, int) and not isinstance(seed, bool)]
    if not good or len(good) < len(found) or len(set(good)) < len(good):
        raise SettingsError(f"seeds: expected at least one whole number, each once, got {given!r}")
    return tuple(good)
