"""The table and the figure of ranks by need, from a result file of ``benchmarks/need.py``."""

import math
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from data_names import NAMES
from markdown_table import markdown_table, spread

Run = Mapping[str, Any]
Place = tuple[str, float | None, int]
UNIFORM = tuple(f"rank {r}" for r in (1, 2, 4, 8, 16, 32))
NEED, SMALL, WIDE = "need, error 0.2", "need, error 0.2, int8", "rank 32"
BESIDE_THE_BEST = ("need, error 0.05", NEED, SMALL)
OTHERS = (
    "need, error 0.05",
    NEED,
    "need, error 0.5",
    "need, error 0.2, no spare slots",
    "need, error 0.2, order of AutoRank",
    SMALL,
    "rank 16, int8",
)


def tables(result: Mapping[str, Any]) -> list[str]:
    """Write the tables of the page."""
    runs = result["need"]["runs"]
    made = [against_the_best(runs), at_equal_bytes(runs), accuracies(runs)]
    timed = result["need"]["costs"]
    return [*made, costs(timed)] if timed else made


def places(runs: Sequence[Run]) -> list[Place]:
    """Return the federations, in order: data set, concentration and number of clients."""
    return list(dict.fromkeys((run["data"], run["dirichlet"], run["clients"]) for run in runs))


def title(place: Place) -> str:
    """Name a federation."""
    data, concentration, clients = place
    who = {6: "6 clients", 8: "8 clients", 10: "10 clients", 30: "10 of 30"}[clients]
    skew = "" if concentration is None else f", Dirichlet {concentration}"
    return f"{NAMES[data]}{skew}, {who}"


def of(runs: Sequence[Run], place: Place, arm: str) -> dict[int, Run]:
    """Return an arm's runs in a federation by seed."""
    return {
        run["seed"]: run
        for run in runs
        if (run["data"], run["dirichlet"], run["clients"]) == place and run["arm"] == arm
    }


def megabytes(run: Run) -> float:
    """Return what was sent both ways."""
    return (run["up"] + run["down"]) / 1e6


def points(run: Run) -> float:
    """Return the accuracy in percent."""
    return 100 * float(run["accuracy"])


def mean(found: Mapping[int, Run], number: Any = points) -> float:  # noqa: ANN401 - a function
    """Return the mean over seeds."""
    return statistics.mean(map(number, found.values()))


def best(runs: Sequence[Run], place: Place) -> str:
    """Return the rank for all with the best mean."""
    return max(uniform(runs, place), key=lambda arm: mean(of(runs, place, arm)))


def uniform(runs: Sequence[Run], place: Place) -> list[str]:
    """Return the ranks for all that were tried in a federation."""
    return [arm for arm in UNIFORM if of(runs, place, arm)]


def behind_the_best(runs: Sequence[Run], place: Place, arm: str) -> list[float]:
    """Return an arm's points above the best rank for all, seed by seed."""
    rival = of(runs, place, best(runs, place))
    return [points(run) - points(rival[seed]) for seed, run in of(runs, place, arm).items()]


def above_the_curve(runs: Sequence[Run], place: Place, arm: str) -> list[float]:
    """Return an arm's points above ranks for all that send as much, seed by seed."""
    gains = []
    for seed, run in of(runs, place, arm).items():
        rivals = [of(runs, place, one)[seed] for one in uniform(runs, place)]
        curve = [(megabytes(x), points(x)) for x in rivals]
        gains.append(points(run) - at_bytes(curve, megabytes(run)))
    return gains


def against_the_best(runs: Sequence[Run]) -> str:
    """Write what need loses to the best rank for all, and at what share of its bytes."""
    rows = []
    for place in places(runs):
        arm = best(runs, place)
        rival = of(runs, place, arm)
        row = [title(place), arm, f"{mean(rival):.1f}", f"{mean(rival, megabytes):.1f}"]
        row.append(f"{mean(rival, lambda run: run['head'] / 1e6):.1f}")
        for one in BESIDE_THE_BEST:
            if not (own := of(runs, place, one)):
                row += ["", ""]
                continue
            gains = behind_the_best(runs, place, one)
            share = mean(own, megabytes) / mean(rival, megabytes)
            row += [spread(gains, sign="+"), f"{share:.2f}"]
        rows.append(tuple(row))
    head: tuple[str, ...] = ("federation", "best rank for all", "accuracy", "MB", "head, MB")
    for one in BESIDE_THE_BEST:
        head += (one, "of its bytes")
    told = (
        "Test accuracy after the last round. Megabytes of all rounds, both ways, and of these "
        "those of head and biases. Need: points against the best rank for all, at its share of "
        f"bytes, seed by seed, mean ± standard deviation over {seeds(runs)} seeds."
    )
    return f"{markdown_table(head, rows)}\n\n{textwrap.fill(told, 120)}"


def seeds(runs: Sequence[Run]) -> int:
    """Return the number of seeds."""
    return len({run["seed"] for run in runs})


def at_bytes(curve: Sequence[tuple[float, float]], amount: float) -> float:
    """Return the accuracy of ranks for all at so many megabytes, between two ranks by logarithm."""
    curve = sorted(curve)
    if amount <= curve[0][0]:
        return curve[0][1]
    for (low, under), (high, over) in pairwise(curve):
        if amount <= high:
            part = (math.log(amount) - math.log(low)) / (math.log(high) - math.log(low))
            return under + part * (over - under)
    return max(accuracy for _, accuracy in curve)


def at_equal_bytes(runs: Sequence[Run]) -> str:
    """Write how far each arm is ahead of ranks for all at the bytes that it takes."""
    rows = []
    for place in places(runs):
        gains = [above_the_curve(runs, place, arm) for arm in OTHERS]
        rows.append((title(place), *(spread(values, sign="+") for values in gains)))
    told = (
        "Points above the curve of ranks for all (1, 2, 4, 8, 16, 32, four bytes a number), at the "
        "same megabytes both ways, between two ranks by the logarithm; beyond rank 32 its best."
    )
    return f"{markdown_table(('federation', *OTHERS), rows)}\n\n{textwrap.fill(told, 120)}"


def accuracies(runs: Sequence[Run]) -> str:
    """Write accuracy and megabytes of every arm."""
    rows = []
    for place in places(runs):
        row = [title(place)]
        for arm in (*UNIFORM, *OTHERS):
            own = of(runs, place, arm)
            row.append(f"{mean(own):.1f}, {mean(own, megabytes):.1f}" if own else "")
        rows.append(tuple(row))
    told = (
        "Accuracy, and megabytes both ways, each arm at the learning rate, of three, that is best "
        "for it on validation rows. The language model: share of tokens that are right, on test "
        "rows of all clients."
    )
    return (
        f"{markdown_table(('federation', *UNIFORM, *OTHERS), rows)}\n\n{textwrap.fill(told, 120)}"
    )


def costs(timed: Mapping[str, Mapping[str, Any]]) -> str:
    """Write what cutting and judging take beside training, and how much memory."""
    rows = []
    for data, arms in timed.items():
        mine, other = arms[NEED], arms[WIDE]
        shares = [f"{100 * mine[what] / mine['train']:.1f} %" for what in ("cutting", "judging")]
        trained = f"{1000 * mine['train'] / mine['trainings']:,.0f} ms"
        peaks = [f"{run['peak_mib']:,}" for run in (mine, other)]
        rows.append((NAMES[data], trained, *shares, *peaks))
    head = ("data", "a client's round", "cutting", "judging", "peak, MiB", "peak of rank 32, MiB")
    told = (
        "Need with an error of 0.2, four bytes a number, one run of one thread for each kind of "
        "data: training of a client in a round; what clients take to cut what they send, and the "
        "server to judge its cut model, in percent of all training. Peak of a process with all its "
        "libraries."
    )
    return f"{markdown_table(head, rows)}\n\n{textwrap.fill(told, 120)}"


def curves(runs: Sequence[Run], place: Place) -> dict[str, list[tuple[float, float]]]:
    """Return megabytes and accuracy of the arms of a figure, means over seeds."""
    lines = {
        "one rank for all: 1, 2, 4, 8, 16, 32": UNIFORM,
        "need: error 0.5, 0.2, 0.05": ("need, error 0.5", NEED, "need, error 0.05"),
        "need, int8: error 0.2": (SMALL,),
        "rank 16, int8": ("rank 16, int8",),
    }
    return {
        name: [(mean(own, megabytes), mean(own)) for a in arms if (own := of(runs, place, a))]
        for name, arms in lines.items()
    }
