"""Tables and claims of FedARA's page, from a result file of ``benchmarks/fedara.py``."""

import math
import statistics
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markdown_table import markdown_table, spread

Run = Mapping[str, Any]
NAMES = {"banking77": "Banking77", "agnews": "AG News"}
WHOLE, SMALL, METHOD = "LoRA, rank 16", "LoRA, rank 4", "FedARA"
RIVALS = (WHOLE, SMALL, "FFA-LoRA, rank 16", "FlexLoRA, rank 16", "default")
CONTROL, FORM = "FedARA, plain LoRA", "SVD form, rank 16"
REACHED = 0.95  # of what LoRA at the start rank ends at
EARLY, LATE = slice(2), slice(-3, None)  # rounds with all slots, and with those that stay


def tables(result: Mapping[str, Any]) -> list[str]:
    """Write all tables of the page."""
    runs = result["fedara"]["runs"]
    told = f"Mean ± standard deviation over {len({run['seed'] for run in runs})} seeds, in points."
    of_data = [f"{NAMES[data]}:\n\n{accuracies(runs, data)}\n\n{told}" for data in NAMES]
    return [claims(result), *of_data, pairs(runs), costs(runs), steps(result)]


def places(runs: Sequence[Run]) -> list[tuple[str, float, str]]:
    """Return data set, concentration and head of all federations, in order."""
    return list(dict.fromkeys((run["data"], run["dirichlet"], run["head"]) for run in runs))


def compared(runs: Sequence[Run]) -> list[str]:
    """Return the arms that were run in all federations, in order."""
    arms = dict.fromkeys(run["arm"] for run in runs)
    return [arm for arm in arms if all(at(runs, arm, *where) for where in places(runs))]


def at(runs: Sequence[Run], arm: str, *where: object) -> dict[int, Run]:
    """Return an arm's runs by seed: of a data set, a concentration and a head, or of the first."""
    names = ("data", "dirichlet", "head")[: len(where)]
    return {
        run["seed"]: run
        for run in runs
        if run["arm"] == arm and tuple(run[name] for name in names) == where
    }


def accuracies(runs: Sequence[Run], data: str) -> str:
    """Write a row an arm, a column a federation."""
    columns = [where for where in places(runs) if where[0] == data]
    head = ("", *(f"Dirichlet {c}, head {head_name(head)}" for _, c, head in columns))
    rows = []
    for arm in dict.fromkeys(run["arm"] for run in runs):
        found = [[100 * run["accuracy"] for run in at(runs, arm, *w).values()] for w in columns]
        if any(found):
            rows.append((arm, *(spread(values) for values in found)))
    return markdown_table(head, rows)


def head_name(name: str) -> str:
    """Say where the head of a federation comes from."""
    return "by LDA" if name == "lda" else "at random"


def differences(runs: Sequence[Run], one: str, other: str, *where: object) -> list[float]:
    """Return how far one arm is ahead of another in points, seed by seed."""
    first, second = at(runs, one, *where), at(runs, other, *where)
    return [100 * (run["accuracy"] - second[seed]["accuracy"]) for seed, run in first.items()]


def pairs(runs: Sequence[Run]) -> str:
    """Write what FedARA gains over each other arm, seed by seed."""
    pairs_of = (
        *((METHOD, rival) for rival in (*RIVALS, FORM, CONTROL)),
        (CONTROL, WHOLE),
        (CONTROL, SMALL),
        ("AutoRank + FedARA, plain LoRA", CONTROL),
    )
    sides = list(dict.fromkeys(where[1:] for where in places(runs)))
    rows = []
    for one, other in pairs_of:
        cells = []
        for side in sides:
            of = [w for w in places(runs) if w[1:] == side]
            cells.append(
                spread([d for w in of for d in differences(runs, one, other, *w)], sign="+")
            )
        rows.append((f"{one} - {other}", *cells))
    head = [f"Dirichlet {c}, head {head_name(name)}" for c, name in sides]
    told = (
        "Mean ± standard deviation of the differences between runs of one federation and seed, "
        "both data sets together."
    )
    return f"{markdown_table(('in points, run by run', *head), rows)}\n\n{told}"


def sent(run: Run) -> list[float]:
    """Return the megabytes sent so far, both ways, by round; the first holds heads by LDA."""
    total, found = 0, []
    for up, down in zip(run["up"], run["down"], strict=True):
        total += up + down
        found.append(total / 1e6)
    return found


def until(run: Run, accuracy: float) -> float | None:
    """Return the megabytes until the test accuracy was first reached, none where it never was."""
    rounds = sorted(map(int, run["by_round"]))
    reached = (r for r in rounds if run["by_round"][str(r)] >= accuracy)
    first = next(reached, None)
    return None if first is None else sent(run)[first]


def to_target(runs: Sequence[Run], arm: str) -> tuple[list[float], int]:
    """Return the shares of LoRA's bytes to the same accuracy, head at random, and the tries."""
    found, tries = [], 0
    for where in (w for w in places(runs) if w[2] == "random"):
        for seed, run in at(runs, arm, *where).items():
            whole = at(runs, WHOLE, *where)[seed]
            accuracy = REACHED * whole["accuracy"]
            needed, rival = until(run, accuracy), until(whole, accuracy)
            if not rival:  # it ends where it began, at chance
                continue
            tries += 1
            if needed is not None:
                found.append(needed / rival)
    return found, tries


def step_seconds(result: Mapping[str, Any], data: str) -> dict[str, tuple[float, float]]:
    """Return milliseconds of a training step by arm, in the first and in the last rounds."""
    found = {}
    for arm, of in result["fedara"]["timed"][data].items():
        early, late = (statistics.mean(of["seconds_a_step"][part]) for part in (EARLY, LATE))
        found[arm] = 1000 * early, 1000 * late
    return found


def costs(runs: Sequence[Run]) -> str:
    """Write what each arm sends, holds and computes."""
    rows = []
    for arm in compared(runs):
        own = [run for run in runs if run["arm"] == arm]
        megabytes = [
            statistics.mean(sum(run[way][1:]) / 1e6 for run in own if run["data"] == data)
            for data in NAMES
            for way in ("up", "down")
        ]
        reached, tries = to_target(runs, arm)
        same = f"{geometric(reached):.2f} ({len(reached)} of {tries})" if reached else "never"
        rows.append(
            (
                arm,
                *(f"{up:.1f}, {down:.1f}" for up, down in (megabytes[:2], megabytes[2:])),
                same,
                f"{statistics.mean(run['mean_rank'] for run in own):.1f}",
                low_high([run["modules_left"] for run in own]),
            )
        )
    head = (
        "",
        *(f"{name}, up, down, MB" for name in NAMES.values()),
        "bytes to the same accuracy",
        "slots a module, at the end",
        "modules left",
    )
    told = (
        "Megabytes of 12 rounds of five clients, without the sums of a head by LDA. Bytes to the "
        f"same accuracy: those until {100 * REACHED:.0f} % of what LoRA of rank 16 ends at, over "
        "its own, head at random, geometric mean over the runs that "
        "get there; runs are left out whose LoRA of rank 16 ends at chance. Slots are those of "
        "a client."
    )
    return f"{markdown_table(head, rows)}\n\n{textwrap.fill(told, 120)}"


def steps(result: Mapping[str, Any]) -> str:
    """Write what a training step of whole runs takes, and what their processes hold."""
    rows = []
    for data, arms in result["fedara"]["timed"].items():
        for arm, (early, late) in step_seconds(result, data).items():
            peak = f"{arms[arm]['peak_mib']:,}"
            rows.append((f"{NAMES[data]}, {arm}", f"{early:.0f}", f"{late:.0f}", peak))
    head = ("", "ms a step, first two rounds", "ms a step, last three rounds", "peak, MiB")
    told = (
        "Dirichlet 1.0, head by LDA; the faster of two runs, one after the other. Peak of a "
        "process with all its libraries."
    )
    return f"{markdown_table(head, rows)}\n\n{textwrap.fill(told, 120)}"


def geometric(values: Sequence[float]) -> float:
    """Return the geometric mean."""
    return math.exp(statistics.mean(map(math.log, values)))


def low_high(values: Sequence[int]) -> str:
    """Write the smallest and the largest."""
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low} to {high}"


def claims(result: Mapping[str, Any]) -> str:
    """Write what the paper claims beside what came out."""
    runs = result["fedara"]["runs"]
    traffic = {
        arm: " and ".join(f"{geometric(less_sent(runs, arm, data)):.2f}" for data in NAMES)
        for arm in (METHOD, SMALL)
    }
    gains = list(best_rivals(runs))
    rows = [
        (
            "2.40 times less traffic",
            f"{traffic[METHOD]} times less (Banking77, AG News) than LoRA of the start rank; LoRA "
            f"of rank 4, as many slots as stay: {traffic[SMALL]}",
        ),
        (
            "up to 48.90 % less time",
            "; ".join(step_claim(result, data) for data in NAMES),
        ),
        (
            "6.95 % better than others",
            f"{spread(gains, sign='+')} points against the best of {len(RIVALS)} others of each "
            f"federation ({min(gains):+.1f} to {max(gains):+.1f})",
        ),
    ]
    return markdown_table(("the paper says", "here"), rows)


def step_claim(result: Mapping[str, Any], data: str) -> str:
    """Write what a training step takes with all slots, and with those that stay."""
    seconds = step_seconds(result, data)
    early, late = seconds[METHOD]
    return (
        f"{NAMES[data]}: a training step takes {early:.0f} ms with all slots, {late:.0f} with "
        f"those that stay; LoRA of rank 16 {seconds[WHOLE][1]:.0f}, of rank 4 "
        f"{seconds[SMALL][1]:.0f}"
    )


def less_sent(runs: Sequence[Run], arm: str, data: str) -> list[float]:
    """Return how many times less an arm sends than LoRA at the start rank, run by run."""
    found = []
    for where in (w for w in places(runs) if w[0] == data):
        whole = at(runs, WHOLE, *where)
        found += [
            traffic(whole[seed]) / traffic(run) for seed, run in at(runs, arm, *where).items()
        ]
    return found


def traffic(run: Run) -> float:
    """Return the megabytes of all rounds, both ways."""
    return sent(run)[-1] - sent(run)[0]


def best_rivals(runs: Sequence[Run]) -> Iterator[float]:
    """Yield FedARA's lead over the rival with the best mean, in each federation."""
    for where in places(runs):
        leads = [statistics.mean(differences(runs, METHOD, rival, *where)) for rival in RIVALS]
        yield min(leads)


def curve(runs: Sequence[Run], arm: str, *where: object) -> list[tuple[float, float]]:
    """Return megabytes and accuracy by round, means over seeds."""
    own = list(at(runs, arm, *where).values())
    rounds = sorted(map(int, own[0]["by_round"]))
    return [
        (
            statistics.mean(sent(run)[r] for run in own),
            statistics.mean(run["by_round"][str(r)] for run in own),
        )
        for r in rounds
    ]


def pruned(result: Mapping[str, Any]) -> str:
    """Write what a training step costs with fewer slots and modules."""
    found = result["pruned"]
    whole = next(iter(found.values()))["seconds"]
    rows = []
    for name, of in found.items():
        ratios = [mine / all_ for mine, all_ in zip(of["seconds"], whole, strict=True)]
        apart = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        rows.append((name, apart, f"{of['optimizer_bytes'] / 1e6:.2f} MB"))
    head = ("slots of the model", "forward and backward, over that of all slots", "Adam's memory")
    told = f"Median of {len(whole)} steps in turn, with the smallest and the largest ratio."
    return f"{markdown_table(head, rows)}\n\n{told}"
