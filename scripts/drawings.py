"""Draw the figures of README and of the documentation from result files."""

import statistics
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fedara_table
import need_table
from claim import Claim

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
MEGABYTES = (1, 2, 5, 10, 20, 50, 100, 200, 500)
LINES = ("-", "--", ":")  # for each round of the colours
OF_SIGNS = {1: "#009E73", 0: "#999999", -1: "#D55E00"}


def drawing() -> Any:  # noqa: ANN401 - a module that is imported where a figure is drawn
    """Return matplotlib's pyplot, set so that a figure is the same file each time."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "polyrank"
    from matplotlib import pyplot

    return pyplot


def finish(figure: Any, out: Path, top: float = 1.0) -> None:  # noqa: ANN401 - matplotlib's
    """Write a figure; above ``top``, a share of its height, is its legend."""
    figure.tight_layout(rect=(0, 0, 1, top))
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, metadata={"Date": None}, facecolor="white")


def fedara(result: dict[str, Any], out: Path) -> None:
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


def need(result: dict[str, Any], out: Path) -> None:
    """Draw accuracy over megabytes of ranks by need and of ranks for all, a panel a federation."""
    pyplot = drawing()
    runs = result["need"]["runs"]
    places = need_table.places(runs)
    rows = -(-len(places) // 3)
    figure, axes = pyplot.subplots(rows, 3, figsize=(11, 3 * rows), squeeze=False)
    for axis in axes.flat[len(places) :]:
        axis.set_visible(False)
    for axis, place in zip(axes.flat, places, strict=False):
        lines = need_table.curves(runs, place).items()
        for colour, (name, points) in zip(COLOURS, lines, strict=False):
            axis.plot(*zip(*points, strict=True), color=colour, label=name, marker="o", ms=4)
        axis.set_title(need_table.title(place), fontsize=10.5)
        axis.set(xlabel="MB, both ways", ylabel="accuracy, %")
        axis.set_xscale("log")
        low, high = axis.get_xlim()
        ticks = [tick for tick in MEGABYTES if low <= tick <= high]
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    lines, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(lines, names, frameon=False, ncols=2, loc="upper center")
    finish(figure, out, top=0.97)


def claims(given: Sequence[Claim], out: Path) -> None:
    """Draw what each federation says of each claim: a difference with its interval."""
    pyplot = drawing()
    heights = [len(claim.places) + 2.2 for claim in given]
    figure, axes = pyplot.subplots(
        len(given), figsize=(9, 0.2 * sum(heights)), squeeze=False, height_ratios=heights
    )
    for axis, claim in zip(axes.flat, given, strict=True):
        for at, (place, sign) in enumerate(zip(claim.places, claim.signs, strict=True)):
            axis.plot(place.ends, (at, at), color=OF_SIGNS[sign], linewidth=1.6)
            axis.plot(place.mean, at, "o", color=OF_SIGNS[sign], markersize=4.5)
        axis.axvline(-claim.cost, color="black", linewidth=0.8)
        axis.set_yticks(range(len(claim.places)), [place.name for place in claim.places])
        axis.set_ylim(len(claim.places) - 0.4, -0.6)
        title = textwrap.fill(f"{claim.says} ({claim.whose}): {claim.verdict}", 90)
        axis.set_title(title, fontsize=9, loc="right", fontweight="bold")
        axis.tick_params(labelsize=8, left=False)
        axis.grid(alpha=0.3, axis="x")
        axis.spines[["top", "right", "left"]].set_visible(False)
    axes.flat[-1].set_xlabel("better by so many points; what is right of the black line holds")
    finish(figure, out)


def by_round(given: list[dict[str, Any]], out: Path, columns: int = 2) -> None:
    """Draw accuracy by round, a panel a result: the mean over seeds, and the range."""
    pyplot = drawing()
    rows = -(-len(given) // columns)
    size = 6.5 * columns, 3.8 * rows
    figure, axes = pyplot.subplots(rows, columns, figsize=size, squeeze=False)
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
