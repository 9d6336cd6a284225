"""What runs have written, as plain JSON, and whole lines of which a test gives what it is about."""

import json
from pathlib import Path
from typing import Any

from polyrank.record.lines import (
    ClientLine,
    FinalLine,
    ProfileLine,
    RanksLine,
    RoundLine,
    UpdateLine,
)
from polyrank.record.run_folder import RunFolder
from polyrank.record.summary import Facts, Summary

Json = dict[str, Any]
NOTHING_SAID = {"criteria": {}, "score": None, "contributions": None, "ranks": {}, "reason": ""}
NO_BYTES = {"up": 0, "down": 0}
REST: dict[str, Json] = {
    "profile": {"examples": {"train": 0, "test": 0}, "label_counts": [], "cap": None}
    | NOTHING_SAID,
    "ranks": NOTHING_SAID,
    "update": {"examples": 0, "loss": None, "steps": 0, "bytes": NO_BYTES, "times_median": None},
    "final": {"before": None, "global": None, "personal": None},
}
KINDS = {"profile": ProfileLine, "ranks": RanksLine, "update": UpdateLine, "final": FinalLine}


def lines_in(folder: RunFolder | Path, kind: str) -> list[Json]:
    """Return the lines of a run's ``KIND.jsonl``."""
    path = (folder.path if isinstance(folder, RunFolder) else folder) / f"{kind}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def summary_in(folder: RunFolder | Path) -> Json:
    """Return a run's ``summary.json``."""
    path = folder.path if isinstance(folder, RunFolder) else folder
    return json.loads((path / "summary.json").read_text(encoding="utf-8"))


def whole_metrics(given: Json | None) -> Json | None:
    """Return metrics that are there at all with those that are always there."""
    return None if given is None else {"accuracy": 0.0, "loss": 0.0} | given


def whole_round(given: Json) -> Json:
    """Return a round's line with all keys."""
    rest = {"cohort": [], "refused": [], "failed": [], "train_loss": None, "validation": None}
    rest |= {"test": None, "bytes": NO_BYTES, "steps": 0, "probe_steps": 0}
    whole = rest | given
    return whole | {part: whole_metrics(whole[part]) for part in ("validation", "test")}


def whole_client(given: Json) -> Json:
    """Return a line about a client with all keys of its event."""
    whole = REST[given["event"]] | given
    judged = [key for key in ("before", "global", "personal") if key in whole]
    return whole | {key: whole_metrics(whole[key]) for key in judged}


def a_round(**given: object) -> RoundLine:
    """Return a round's line."""
    return RoundLine.model_validate(whole_round(given))


def about_client(given: Json) -> ClientLine:
    """Return a line about a client; its ``event`` says of which kind."""
    return KINDS[given["event"]].model_validate(whole_client(given))


def whole_summary(given: Json) -> Json:
    """Return what ``summary.json`` holds with all keys."""
    ended, at_the_end = {"final": None, "best": None, "best_round": None}, {"final": None}
    rest = {
        "format": 1,
        "polyrank": "0.1.0",
        "torch": "2.0",
        "name": "run",
        "seed": 0,
        "rounds": 1,
        "clients": 1,
        "aggregator": "a",
    }
    rest |= {"allocator": "a", "accuracy": ended, "worst_client": None, "personal": None}
    rest |= dict.fromkeys(("macro_f1", "balanced_accuracy", "loss"), at_the_end)
    rest |= {"rounds_to_target": None, "bytes": NO_BYTES, "steps": {"probe": 0, "training": 0}}
    rest |= {"refused": 0, "failed": 0, "mean_rank": None, "ranks": {}, "scores": {}}
    return rest | some_facts().as_json() | given


def a_summary(**given: object) -> Summary:
    """Return what a run came to."""
    return Summary.model_validate(whole_summary(given))


def some_facts(**given: object) -> Facts:
    """Return what the lines do not hold."""
    rest = {"criterion_weights": {}, "rank_spread": 1.0, "head_init": "none", "label_names": []}
    return Facts.model_validate(rest | {"parameters": {"base": 0, "trained": 0}} | given)
