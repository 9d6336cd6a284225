"""Tables with a row, or a column, an arm, and the mean of its last rounds."""

import statistics
from typing import Any

from data_names import written
from markdown_table import markdown_table, percent

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


def by_federation(result: dict[str, Any], key: str = "grid") -> str:
    """Write a result of several federations as a table: a row a federation, a column an arm."""
    grid = result[key]
    arms = list(dict.fromkeys(arm for of in grid.values() for arm in of))
    rows = [
        (
            written(name),
            *(percent([statistics.mean(c[-LAST:]) for c in of[arm].values()]) for arm in arms),
        )
        for name, of in grid.items()
    ]
    told = f"Mean ± standard deviation over {seeds_of(grid)}.{diverged(grid)}"
    title = f"{result['title']}, mean of the last {LAST} rounds:"
    return f"{title}\n\n{markdown_table(('', *arms), rows)}\n\n{told}"


def diverged(grid: dict[str, dict[str, Any]]) -> str:
    """Say which runs did not come to their last round."""
    told = []
    for place, of in grid.items():
        last = max(len(curve) for seeds in of.values() for curve in seeds.values())
        for arm, seeds in of.items():
            if early := sum(len(curve) < last for curve in seeds.values()):
                told.append(f"{written(place)}, *{arm}*: {early} of {len(seeds)}")
    return f" Of runs that diverged the rounds before count: {'; '.join(told)}." if told else ""


def seeds_of(columns: dict[str, dict[str, Any]]) -> str:
    """Say how many seeds the columns have: "3 seeds (digits), 2 seeds (MNIST, Fashion-MNIST)"."""
    told: dict[int, dict[str, None]] = {}
    for name, column in columns.items():
        for seeds in column.values():
            told.setdefault(len(seeds), {})[written(name.partition(",")[0])] = None
    if len(told) == 1:
        return f"{next(iter(told))} seeds"
    return ", ".join(f"{count} seeds ({', '.join(data)})" for count, data in told.items())


def by_arm(result: dict[str, Any]) -> str:
    """Write a result of one federation as a table: a row an arm."""
    rows = []
    for name, arm in result["arms"].items():
        runs = list(arm.values())
        worst = [run["worst_client"]["final"] for run in runs if run["worst_client"]]
        rank = statistics.mean(run["mean_rank"] for run in runs)
        own = [run["personal"]["mean"] for run in runs if run.get("personal")]
        sent = [statistics.mean(run["bytes"][way] for run in runs) / 1e6 for way in ("up", "down")]
        told = [percent(values) or "not measured" for values in (last_rounds(arm), worst, own)]
        rows.append((name, *told, f"{rank:.1f}", *(f"{mb:.1f} MB" for mb in sent)))
    seeds = {len(arm) for arm in result["arms"].values()}
    below = f"Mean ± standard deviation over {' or '.join(map(str, seeds))} seeds."
    return f"{result['title']}:\n\n{markdown_table(COLUMNS, rows)}\n\n{below}"
