"""Traces and axes that several sections share, as plain data for plotly.js.

Colours are names; the page turns them into colours that fit light, dark and paper.
"""

import html
import itertools
from collections.abc import Sequence

from polyrank.report.parts import Trace

COLOURS = 8  # "@c0" to "@c7", told apart by colour-blind readers too
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon")
PATTERNS = ("", "/", ".", "x")
MANY_CLIENTS = 60  # more than this are drawn without a name under each
MANY_ROUNDS = 40  # more than this are drawn without a mark at each
LONGEST_TICK = 16  # characters of a name under an axis
LONGEST_MODULE = 20  # characters of a module's name
HEAT = [[0.0, "@heat0"], [0.25, "@heat1"], [0.5, "@heat2"], [0.75, "@heat3"], [1.0, "@heat4"]]
PERCENT_AXIS: Trace = {"tickformat": ".0%", "range": [0, 1.02], "zeroline": False}
MOST_TICKS = 10  # on an axis of rounds


def round_axis(last: int) -> Trace:
    """Return an axis of rounds up to the last, with marks at whole rounds only."""
    nice = (factor * 10**power for power in itertools.count() for factor in (1, 2, 5))
    step = next(step for step in nice if last <= MOST_TICKS * step)
    title = {"title": {"text": "round"}}
    return {**title, "tickmode": "linear", "tick0": 0, "dtick": step, "tickformat": "d"}


def plain_label(text: str) -> str:
    """Return ``text`` such that plotly.js, which reads some HTML, shows it as it is."""
    return html.escape(text, quote=False)


def colour(index: int) -> str:
    """Return the name of the colour of series ``index``."""
    return f"@c{index % COLOURS}"


def line(
    name: str, x: Sequence[float], y: Sequence[float | None], index: int, value: str = ".1%"
) -> Trace:
    """Return a line, mostly by round; series differ in colour, dash and mark."""
    return {
        "type": "scatter",
        "mode": "lines" if len(x) > MANY_ROUNDS else "lines+markers",
        "name": plain_label(name),
        "x": list(x),
        "y": list(y),
        "connectgaps": True,
        "line": {"color": colour(index), "width": 2.25, "dash": DASHES[index % len(DASHES)]},
        "marker": {"color": colour(index), "symbol": SYMBOLS[index % len(SYMBOLS)], "size": 6},
        "hovertemplate": f"%{{y:{value}}}",
    }


def bar(name: str, x: Sequence[int | str], y: Sequence[float | None], index: int) -> Trace:
    """Return bars; beyond the number of colours, series differ in pattern."""
    pattern = {"shape": PATTERNS[index // COLOURS % len(PATTERNS)], "solidity": 0.4}
    return {
        "type": "bar",
        "name": plain_label(name),
        "x": list(x),
        "y": list(y),
        "marker": {"color": colour(index), "pattern": pattern, "line": {"width": 0}},
        "hovertemplate": "%{y:.4~r}",
    }


def names_axis(names: Sequence[str], title: str) -> Trace:
    """Return an axis of clients or labels, in the order given; long names are cut on it."""
    axis: Trace = {"type": "category", "title": {"text": plain_label(title)}, "automargin": True}
    if len(names) > MANY_CLIENTS:
        return axis | {"showticklabels": False, "ticks": ""}
    cut = {name: f"{name[: LONGEST_TICK - 1]}…" for name in names if len(name) > LONGEST_TICK}
    return axis | {
        "labelalias": {plain_label(name): plain_label(short) for name, short in cut.items()}
    }


def modules_axis(modules: Sequence[str]) -> Trace:
    """Return an axis of modules from top to bottom, named by what tells them apart."""
    short = short_names(modules)
    return {
        "type": "category",
        "autorange": "reversed",
        "title": {"text": ""},
        "labelalias": {
            plain_label(name): plain_label(label)
            for name, label in zip(modules, short, strict=True)
            if name != label
        },
    }


def short_names(modules: Sequence[str]) -> list[str]:
    """Return modules' names by what tells them apart.

    The dotted parts that all names begin with are left out. What is still long keeps its first
    number, which is the layer's, and its last parts.
    """
    paths = [name.split(".") for name in modules]
    beginnings = zip(*(path[:-1] for path in paths), strict=False)
    shared = len([*itertools.takewhile(lambda parts: len(set(parts)) == 1, beginnings)])
    return [_shortened(path[shared:]) for path in paths]


def _shortened(path: Sequence[str]) -> str:
    """Return a dotted name, without its middle where it is too long for an axis."""
    layer = next((k for k, part in enumerate(path) if part.isdecimal()), 0)
    tails = [".".join(path[k:]) for k in range(layer, len(path))]
    begins = [".".join(path), tails[0], *(f"{path[layer]}…{tail}" for tail in tails[1:])]
    return next((name for name in begins if len(name) <= LONGEST_MODULE), begins[-1])


def gap(count: int) -> float:
    """Return the gap between bars that suits their number: few stay slim, many touch."""
    return 0.0 if count > MANY_CLIENTS else max(0.25, 1 - count / 8)


def sorted_by(count: int, what: str) -> str:
    """Return the title of an axis of clients, which says their order."""
    return f"{count:,} clients, {what}" if count > MANY_CLIENTS else f"client, {what}"
