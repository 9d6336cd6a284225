"""Draw README's figure and table, and those of the documentation, from the files in ``results``.

    python scripts/figures.py [--check]

``--check`` changes nothing and fails if a table is not what the files give.
"""

import argparse
import json
import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any

import claims_table
import compression_table
import criteria_table
import fedara_table
import known_need_table
import language_table
import need_table
import scaling_table
import text_table
import verdict_table

ROOT = Path(__file__).parent.parent
START, END = "<!-- results: made by scripts/figures.py -->", "<!-- end of results -->"
VERDICTS = "<!-- verdicts: made by scripts/figures.py -->"
VERDICTS_END = "<!-- end of verdicts -->"
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
COLOURS = (  # Okabe and Ito's, and a grey
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
    "#000000",
    "#B5A900",
    "#999999",
)
LINES = ("-", "--", ":")  # for each round of the colours


def results() -> list[dict[str, Any]]:
    """Read all result files that have a table, in the order of their names."""
    found = [json.loads(path.read_text()) for path in sorted((ROOT / "results").glob("*.json"))]
    return [result for result in found if "title" in result]


def last_rounds(arm: dict[str, Any]) -> list[float]:
    """Return for each seed the mean test accuracy of the last rounds."""
    return [statistics.mean(run["test_accuracy"][-LAST:]) for run in arm.values()]


def grid(result: dict[str, Any]) -> str:
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


def table(result: dict[str, Any]) -> str:
    """Write one result as a Markdown table."""
    if "grid" in result:
        return grid(result)
    if "perplexity" in result:
        return language_table.by_size(result)
    if "texts" in result:
        return text_table.controls(result)
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


def with_tables(page: str, tables: list[str]) -> str:
    """Return a page with its results replaced."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{chr(10).join(t + chr(10) for t in tables)}{END}{after}"


def with_verdicts(page: str) -> str:
    """Return README with its table replaced."""
    before, _, rest = page.partition(VERDICTS)
    _, _, after = rest.partition(VERDICTS_END)
    return f"{before}{VERDICTS}\n{verdict_table.verdicts()}\n{VERDICTS_END}{after}"


def pages(given: list[dict[str, Any]]) -> dict[Path, list[str]]:
    """Return the pages that hold tables, and which."""
    language = [result for result in given if "perplexity" in result]
    texts = [result for result in given if "texts" in result]
    criteria = [result for result in given if "criteria" in result]
    bits = [result for result in given if "compression" in result]
    kept = [result for result in given if "fedara" in result]
    needs = [result for result in given if "need" in result]
    scalings = [result for result in given if "scaling" in result]
    pruned = [result for result in given if "pruned" in result]
    known = [result for result in given if "known_need" in result]
    measured = [*bits, *kept, *needs, *pruned, *known, *scalings]
    elsewhere = [*texts, *language, *criteria, *measured]
    others = [result for result in given if result not in elsewhere]
    return {
        ROOT / "docs" / "results.md": [
            f"{claims_table.table()}\n\n## Tables",
            *(table(result) for result in (*texts, *others, *language)),
        ],
        ROOT / "docs" / "explanation" / "autorank.md": [
            criteria_table.by_criterion(result) for result in criteria
        ],
        ROOT / "docs" / "explanation" / "compression.md": [
            compression_table.by_arm(result) for result in bits
        ],
        ROOT / "docs" / "explanation" / "fedara.md": [
            *(table for result in kept for table in fedara_table.tables(result)),
            *(fedara_table.pruned(result) for result in pruned),
        ],
        ROOT / "docs" / "explanation" / "language-models.md": [
            language_table.by_client(result) for result in language
        ],
        ROOT / "docs" / "explanation" / "need.md": [
            table for result in needs for table in need_table.tables(result)
        ],
        ROOT / "docs" / "explanation" / "when-rank-matters.md": [
            table for result in known for table in known_need_table.tables(result)
        ],
        ROOT / "docs" / "explanation" / "rbla.md": [
            scaling_table.by_order(result) for result in scalings
        ],
        ROOT / "docs" / "explanation" / "text-classifiers.md": [
            text_table.steps(result) for result in texts if text_table.has_steps(result)
        ],
    }


def first_screen(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what README shows: where ranks from data help, and where they hurt."""
    helps = next(r for r in given if r["title"].startswith("Digits, staircase"))
    hurts = next(r for r in given if r["title"].startswith("Digits, label skew"))
    arms = {name: arm for name, arm in helps["arms"].items() if name.endswith("flexlora")}
    return [{**helps, "arms": arms}, hurts]


def drawing() -> Any:  # noqa: ANN401 - a module that is imported where a figure is drawn
    """Return matplotlib's pyplot, set so that a figure is the same file each time."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "polyrank"
    from matplotlib import pyplot

    return pyplot


def finish(figure: Any, out: Path) -> None:  # noqa: ANN401 - matplotlib's
    """Write a figure."""
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, metadata={"Date": None}, facecolor="white")


def draw_bytes(result: dict[str, Any], out: Path) -> None:
    """Draw accuracy over megabytes sent, a panel a federation: means over seeds."""
    pyplot = drawing()
    runs = result["fedara"]["runs"]
    places = [where for where in fedara_table.places(runs) if where[2] == "random"]
    figure, axes = pyplot.subplots(2, 2, figsize=(13, 8), squeeze=False)
    for axis, where in zip(axes.flat, places, strict=True):
        for colour, arm in zip(COLOURS, fedara_table.compared(runs), strict=True):
            axis.plot(
                *zip(*fedara_table.curve(runs, arm, *where), strict=True),
                color=colour,
                label=arm,
                linewidth=2.6 if arm == fedara_table.METHOD else 1.6,
                marker=".",
            )
        name = fedara_table.NAMES[where[0]]
        axis.set(title=f"{name}, Dirichlet {where[1]}, head at random", ylabel="test accuracy")
        axis.set_xlabel("megabytes sent, both ways")
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 1].legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    finish(figure, out)


def draw_needs(result: dict[str, Any], out: Path) -> None:
    """Draw accuracy over megabytes of ranks by need and of ranks for all, a panel a federation."""
    pyplot = drawing()
    runs = result["need"]["runs"]
    places = need_table.places(runs)
    rows = -(-len(places) // 4)
    figure, axes = pyplot.subplots(rows, 4, figsize=(15, 3.2 * rows), squeeze=False)
    for axis in axes.flat[len(places) :]:
        axis.set_visible(False)
    for axis, place in zip(axes.flat, places, strict=False):
        lines = need_table.curves(runs, place).items()
        for colour, (name, points) in zip(COLOURS, lines, strict=False):
            axis.plot(*zip(*points, strict=True), color=colour, label=name, marker="o", ms=4)
        axis.set(title=need_table.title(place), xlabel="MB, both ways", ylabel="accuracy, %")
        axis.set_xscale("log")
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(frameon=False, fontsize=7, loc="lower right")
    finish(figure, out)


def draw(given: list[dict[str, Any]], out: Path) -> None:
    """Draw accuracy by round, a panel a result: the mean over seeds, and the range."""
    pyplot = drawing()
    given = [result for result in given if "arms" in result]
    rows = -(-len(given) // 2)
    figure, axes = pyplot.subplots(rows, 2, figsize=(13, 3.8 * rows), squeeze=False)
    for axis in axes.flat[len(given) :]:
        axis.set_visible(False)
    for axis, result in zip(axes.flat, given, strict=False):
        styles = ((dash, colour) for dash in LINES for colour in COLOURS)
        for (dash, colour), (name, arm) in zip(styles, result["arms"].items(), strict=False):
            curves = [run["test_accuracy"] for run in arm.values()]
            columns = list(zip(*curves, strict=True))
            rounds = range(len(columns))
            low, high = [min(c) for c in columns], [max(c) for c in columns]
            axis.fill_between(rounds, low, high, color=colour, alpha=0.10, linewidth=0)
            mean = [statistics.mean(c) for c in columns]
            axis.plot(rounds, mean, dash, color=colour, label=name, linewidth=1.8)
        axis.set(title=result["title"].partition(":")[0], xlabel="round", ylabel="test accuracy")
        axis.set_ylim(0.5, 1.0)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    finish(figure, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    made = {path: partial(with_tables, tables=of) for path, of in pages(results()).items()}
    for path, filled in {ROOT / "README.md": with_verdicts, **made}.items():
        now = path.read_text(encoding="utf-8")
        wanted = filled(now)
        if not check:
            path.write_text(wanted, encoding="utf-8")
        elif now != wanted:
            sys.exit(f"{path.relative_to(ROOT)}: run python scripts/figures.py")
    if not check:
        draw(results(), ROOT / "docs" / "figures" / "results.svg")
        draw(first_screen(results()), ROOT / "docs" / "figures" / "first.svg")
        for result in results():
            if "fedara" in result:
                draw_bytes(result, ROOT / "docs" / "figures" / "fedara.svg")
            if "need" in result:
                draw_needs(result, ROOT / "docs" / "figures" / "need.svg")
