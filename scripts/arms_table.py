"""Tables with a row an arm, from files of ``scripts/collect.py`` and ``safe_default.py``."""

import statistics
from typing import Any

LAST = 5  # rounds whose mean accuracy is told
COLUMNS = (
    "ranks + aggregator",
    f"last {LAST} rounds",
    "worst client",
    "personal",
    "mean rank",
    "up",
    "down",
)


def last_rounds(arm: dict[str, Any]) -> list[float]:
    """Return for each seed the mean test accuracy of the last rounds."""
    return [statistics.mean(run["test_accuracy"][-LAST:]) for run in arm.values()]


def by_federation(result: dict[str, Any]) -> str:
    """Write a result of several federations as a table: a row an arm, a column a federation."""
    columns = result["grid"]
    lines = [
        f"{result['title']}, mean of the last {LAST} rounds:",
        "",
        f"| | {' | '.join(columns)} |",
        f"| --- | {' | '.join('---' for _ in columns)} |",
    ]
    for arm in dict.fromkeys(arm for column in columns.values() for arm in column):
        curves = [column[arm].values() for column in columns.values()]
        cells = [spread([statistics.mean(curve[-LAST:]) for curve in each]) for each in curves]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    lines += ["", f"Mean ± standard deviation over {seeds_of(columns)}."]
    return "\n".join(lines)


def seeds_of(columns: dict[str, dict[str, Any]]) -> str:
    """Say how many seeds the columns have: "3 seeds (digits), 2 seeds (mnist, fashion_mnist)"."""
    told: dict[int, dict[str, None]] = {}
    for name, column in columns.items():
        for seeds in column.values():
            told.setdefault(len(seeds), {})[name.partition(",")[0]] = None
    if len(told) == 1:
        return f"{next(iter(told))} seeds"
    return ", ".join(f"{count} seeds ({', '.join(data)})" for count, data in told.items())


def by_arm(result: dict[str, Any]) -> str:
    """Write a result of one federation as a table: a row an arm."""
    lines = [
        f"{result['title']}:",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"| {' | '.join('---' for _ in COLUMNS)} |",
    ]
    for name, arm in result["arms"].items():
        runs = list(arm.values())
        worst = [run["worst_client"]["final"] for run in runs if run["worst_client"]]
        rank = statistics.mean(run["mean_rank"] for run in runs)
        own = [run["personal"]["mean"] for run in runs if run.get("personal")]
        sent = [statistics.mean(run["bytes"][way] for run in runs) / 1e6 for way in ("up", "down")]
        accuracies = [spread(values) for values in (last_rounds(arm), worst, own)]
        cells = [name, *accuracies, f"{rank:.1f}", *(f"{mb:.1f} MB" for mb in sent)]
        lines.append(f"| {' | '.join(cells)} |")
    seeds = {len(arm) for arm in result["arms"].values()}
    lines += ["", f"Mean ± standard deviation over {' or '.join(map(str, seeds))} seeds."]
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """Write mean and standard deviation in points of accuracy."""
    if not values:
        return "not measured"
    deviation = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{deviation}"
