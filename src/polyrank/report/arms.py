"""Which runs differ in nothing but their seed, and a name for each such group that no other has.

What a run was asked for stands in its config.toml, resolved. What no result depends on (its
name, and how it was carried out) does not count; a run whose settings cannot be read is alone.
"""

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count

from polyrank.report.reading import Run

NO_MATTER = frozenset(
    {"format", "recipe", "seed", "name", "workers", "task_timeout", "device", "trackers"}
)
LONGEST = 40  # characters of a value in a name
Settings = Mapping[str, str]  # dotted key -> value in words


@dataclass(frozen=True)
class Arm:
    """Runs of the same settings.

    Attributes:
        name: no other arm has it.
        runs: all, in the order given.
        seeds: one run a seed: of several, the first that finished.
    """

    name: str
    runs: Sequence[Run]
    seeds: Sequence[Run]


def arms_of(runs: Sequence[Run]) -> list[Arm]:
    """Group runs that differ only in their seed, in the order met."""
    groups: dict[frozenset[tuple[str, str]], list[Run]] = {}
    for run in runs:
        groups.setdefault(frozenset(settings_of(run).items()), []).append(run)
    names = _names([_own_name(group) for group in groups.values()], [dict(key) for key in groups])
    return [
        Arm(name, group, list(_by_seed(group).values()))
        for name, group in zip(names, groups.values(), strict=True)
    ]


def run_names(runs: Sequence[Run], arms: Sequence[Arm]) -> list[str]:
    """Return a name for every run: its own, or its arm's with seed and folder where it takes them.

    Args:
        runs: as given.
        arms: of these runs.
    """
    own = [run.name for run in runs]
    if len(set(own)) == len(own):
        return own
    named = {id(run): name for arm in arms for run, name in _in_arm(arm)}
    return distinct([named[id(run)] for run in runs])


def settings_of(run: Run) -> Settings:
    """Return what the results of a run may depend on, but for its seed."""
    flat = _settings(run)
    return {
        key: value for key, value in flat.items() if key.partition(".")[0] not in NO_MATTER
    } or {"folder": str(run.folder)}


def _settings(run: Run) -> Settings:
    try:
        return dict(_flat(tomllib.loads(run.settings), ""))
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def _flat(table: Mapping[str, object], above: str) -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", str(value)


def _own_name(group: Sequence[Run]) -> str:
    names = list(dict.fromkeys(run.name for run in group))
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def seed_of(run: Run) -> str:
    """Return the seed of a run, or that it is not known."""
    ended = run.summary.seed if run.summary else None
    return str(ended) if ended is not None else _settings(run).get("seed", "unknown")


def _by_seed(group: Sequence[Run]) -> dict[str, Run]:
    kept: dict[str, Run] = {}
    for run in group:
        seed = seed_of(run)
        if seed not in kept or (run.finished and not kept[seed].finished):
            kept[seed] = run
    return kept


def _names(own: Sequence[str], settings: Sequence[Settings]) -> list[str]:
    """Return the own names; to those that several arms have, what differs between them is added."""
    named = [
        _with_differences(name, mine, [s for n, s in zip(own, settings, strict=True) if n == name])
        for name, mine in zip(own, settings, strict=True)
    ]
    return distinct(named)


def _with_differences(name: str, mine: Settings, namesakes: Sequence[Settings]) -> str:
    keys = sorted(set().union(*namesakes))
    differing = [key for key in keys if len({other.get(key) for other in namesakes}) > 1]
    told = [f"{_short(key)} {_shown(mine[key])}" for key in differing if key in mine]
    return ", ".join([name, *told])


def _short(key: str) -> str:
    """Return "learning_rate" for "training.learning_rate", and "aggregator" for its kind."""
    whole = key.removesuffix(".kind")
    return whole.rpartition(".")[2] if whole.count(".") == 1 else whole


def _shown(value: str) -> str:
    return value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}\u2026"


def _in_arm(arm: Arm) -> Iterator[tuple[Run, str]]:
    times = Counter(seed_of(run) for run in arm.runs)
    for run in arm.runs:
        seed = seed_of(run)
        name = f"{arm.name}, seed {seed}" if len(arm.runs) > 1 else arm.name
        yield run, f"{name} ({run.folder})" if times[seed] > 1 else name


def distinct(names: Sequence[str]) -> list[str]:
    """Return the names, with a number where one comes again."""
    taken: dict[str, None] = {}
    for name in names:
        tries = chain([name], (f"{name} ({number})" for number in count(2)))
        taken[next(each for each in tries if each not in taken)] = None
    return list(taken)
