"""How long a federation would take on devices of given speeds: a model, and no measurement.

A round lasts as long as its slowest client: download, training, upload, one after the other. The
server's own time, latencies, and clients whose updates were refused or did not come, count for
nothing; rounds follow one another without a pause.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from polyrank.errors import SettingsError
from polyrank.record.lines import UpdateLine
from polyrank.record.schema import RanksByModule
from polyrank.report.reading import Run
from polyrank.settings.schema import Settings

Ranks = tuple[tuple[str, int], ...]  # of every module, sorted by name


class Counts(Protocol):
    """Counts the operations of training on one row, for each of some ranks."""

    def __call__(self, folder: Path, asked: Sequence[RanksByModule]) -> list[float]:
        """Return one number for each."""
        ...


@dataclass(frozen=True)
class DeviceTime:
    """Speeds of the clients' devices: one number for all, or one for each.

    Args:
        flops: floating-point operations a second.
        megabytes: of a million bytes that a device sends or receives a second.

    Raises:
        SettingsError: a speed is no finite number above 0.
    """

    flops: float | Sequence[float]
    megabytes: float | Sequence[float]

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("flops", "megabytes"):
            given = getattr(self, name)
            values = [given] if isinstance(given, int | float) else given
            if isinstance(values, str) or not values or not all(map(_is_speed, values)):
                raise SettingsError(
                    f"device_time.{name}: expected a finite number above 0, or a list with one "
                    f"for each client, got {given!r}"
                )

    def check(self, clients: int) -> None:
        """Check that a list has a number for each client.

        Raises:
            SettingsError: it has more or fewer.
        """
        for name in ("flops", "megabytes"):
            given = getattr(self, name)
            if not isinstance(given, int | float) and len(given) != clients:
                raise SettingsError(
                    f"device_time.{name}: expected one number for all, or one for each of the "
                    f"{clients} clients, got {len(given)}"
                )

    def seconds(self, client: int, flops: float, sent: int) -> float:
        """Return how long a client takes; clients are numbered in their natural order."""
        speed, rate = (_of(given, client) for given in (self.flops, self.megabytes))
        return flops / speed + sent / (1e6 * rate)


def devices_of(flops: str | None, megabytes: str | None) -> DeviceTime | None:
    """Return the devices that two options of the command line describe; None of none.

    Raises:
        SettingsError: one is given without the other, or holds no numbers.
    """
    if flops is None and megabytes is None:
        return None
    if flops is None or megabytes is None:
        raise SettingsError("expected --flops and --megabytes together, got one of them")
    return DeviceTime(_numbers("--flops", flops), _numbers("--megabytes", megabytes))


def _numbers(option: str, given: str) -> float | list[float]:
    try:
        found = [float(part) for part in given.split(",")]
    except ValueError as error:
        raise SettingsError(
            f"{option} {given!r}: expected a number, or several with commas between them"
        ) from error
    return found if len(found) > 1 else found[0]


def federated_seconds(
    run: Run, settings: Settings, devices: DeviceTime, count: Counts
) -> dict[int, float]:
    """Return how long each round would take: that of its slowest client.

    Args:
        run: finished.
        settings: of the run.
        devices: of the clients, in natural order of their names.
        count: of the operations of training on one row.

    Raises:
        SettingsError: there are more or fewer devices than clients.
    """
    devices.check(len(run.profiles))
    place = {profile.client: at for at, profile in enumerate(run.profiles)}
    ranks = [(line, _ranks_in(run, line)) for line in run.updates]
    asked = sorted({of for _, of in ranks})
    costs = dict(zip(asked, count(run.folder, [dict(of) for of in asked]), strict=True))
    found: dict[int, float] = {}
    for line, of in ranks:
        work = costs[of] * _rows(run, settings, line)
        took = devices.seconds(place[line.client], work, line.bytes.total)
        found[line.round] = max(found.get(line.round, 0.0), took)
    return found


def _rows(run: Run, settings: Settings, line: UpdateLine) -> float:
    """Return on how many rows a client trained in a round, each time counted."""
    told = next(p.examples for p in run.profiles if p.client == line.client)
    if settings.training.steps or told is None:
        return line.steps * settings.training.batch_size
    return settings.training.epochs * told.train


def _ranks_in(run: Run, line: UpdateLine) -> Ranks:
    """Return the ranks with which a client trained in a round."""
    changed = [change for change in run.changes if change.client == line.client]
    before = bisect_right([change.round for change in changed], line.round)
    first = next(p.ranks for p in run.profiles if p.client == line.client)
    return tuple(sorted((changed[before - 1].ranks if before else first).items()))


def _of(given: float | Sequence[float], client: int) -> float:
    return given if isinstance(given, int | float) else given[client]


def _is_speed(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value > 0
    )
