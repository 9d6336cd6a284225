"""What a run was, in one line below its title: data, split, size, model, methods, date, version."""

import tomllib
from collections.abc import Mapping
from typing import Any

from polyrank.report.reading import Run
from polyrank.report.words import plural

LONGEST = 40  # characters of a name


def facts(run: Run) -> str:
    """Return the line; what is not known is left out."""
    asked = _settings(run)
    ended, clients = run.summary, len(run.profiles)
    parts = [
        "" if run.finished else "unfinished run",
        _data(asked.get("data")),
        _kind(asked.get("partition")),
        plural(clients, "client") if clients else "",
        plural(run.rounds[-1].round, "round") if run.rounds else "",
        _model(asked.get("model")),
        f"ranks by {ended.allocator}" if ended else _kind(asked.get("allocator")),
        f"aggregated by {ended.aggregator}" if ended else _kind(asked.get("aggregator")),
        f"seed {asked['seed']}" if isinstance(asked.get("seed"), int) else "",
        run.date,
        f"PolyRank {ended.polyrank}" if ended else "",
    ]
    return " · ".join(part for part in parts if part)


def _settings(run: Run) -> Mapping[str, Any]:
    try:
        return tomllib.loads(run.settings)
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def _kind(table: object) -> str:
    kind = table.get("kind") if isinstance(table, dict) else table
    return _short(kind) if isinstance(kind, str) else ""


def _model(table: object) -> str:
    name = table.get("name") if isinstance(table, dict) else None
    return _short(name) if isinstance(name, str) else _kind(table)


def _data(table: object) -> str:
    source = table.get("source") if isinstance(table, dict) else table
    if isinstance(source, list):
        return plural(len(source), "file")
    return _short(source) if isinstance(source, str) else ""


def _short(name: str) -> str:
    """Return a name, of a path its last part, cut where it is long."""
    last = name.rstrip("/").rpartition("/")[2] if name.count("/") > 1 else name
    return last if len(last) <= LONGEST else f"{last[: LONGEST - 1]}…"
