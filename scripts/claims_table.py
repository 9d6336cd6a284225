"""What papers claim, and what we do, beside what was measured: from the files in ``results``.

A difference is taken seed by seed, with Student's 90 % interval. Where the interval lies above
0 the claim holds there, where it lies below 0 the opposite does. A claim that something costs
at most so many points holds where the interval lies above minus that.
"""

import json
import statistics
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fedara_table
import need_table
import verdict_table
from markdown_table import markdown_table

RESULTS = Path(__file__).parent.parent / "results"
LAST = 5  # rounds whose mean accuracy is told
SIGNS = {1: "yes", 0: "open", -1: "no"}
HEAD = ("claim", "whose", "measured, in points", "here")


@dataclass(frozen=True)
class Place:
    """Where a claim was tried.

    Args:
        name: of the federation.
        better: by how much what is claimed is better, seed by seed.
    """

    name: str
    better: Sequence[float]

    @property
    def told(self) -> str:
        """Write the mean and its interval."""
        return f"{self.name} {verdict_table.between(verdict_table.sure(self.better))}"

    def sign(self, cost: float) -> int:
        """Return 1 where the claim holds, -1 where the opposite does, 0 where seeds do not tell."""
        found = verdict_table.sure(self.better)
        assert found.low is not None
        assert found.high is not None
        return int(found.low > -cost) - int(found.high < -cost)


@dataclass(frozen=True)
class Claim:
    """A claim, and where it was tried.

    Args:
        says: the claim.
        whose: paper or project.
        places: where it was tried.
        cost: points that the claim allows to be lost.
    """

    says: str
    whose: str
    places: Sequence[Place]
    cost: float = 0.0

    @property
    def verdict(self) -> str:
        """Say whether it holds: everywhere, at some places, or nowhere."""
        signs = [place.sign(self.cost) for place in self.places]
        held = signs.count(1)
        if held == len(signs):
            return "holds"
        if held:
            return f"holds at {held} of {len(signs)}"
        return "does not hold" if -1 in signs else "not shown"

    @property
    def row(self) -> tuple[str, ...]:
        """Write the claim's row."""
        measured = [f"{SIGNS[place.sign(self.cost)]}: {place.told}" for place in self.places]
        return self.says, self.whose, "<br>".join(measured), f"**{self.verdict}**"


def table() -> str:
    """Write all claims."""
    told = (
        "Mean over seeds of the difference between runs of one seed, with its 90 % interval; open "
        "where the interval does not say. In perplexity, where less is better, the sign is turned."
    )
    rows = [claim.row for claim in claims()]
    return f"{markdown_table(HEAD, rows)}\n\n{textwrap.fill(told, 120)}"


def claims() -> Iterator[Claim]:
    """Yield all claims, those of papers first."""
    yield Claim(
        "Ranks from the clients' data are better than one rank for all of the same budget",
        "AutoRank",
        [
            Place(name, [(b - a) if less else (a - b) for a, b in zip(*two, strict=True)])
            for name, *two, less in verdict_table.rows()
        ],
    )
    yield Claim(
        "... and better than random ranks of the same budget",
        "AutoRank",
        [
            digits(name, f"autorank + {by}", f"random + {by}", by)
            for name in DIGITS
            for by in ("flexlora", "rbla")
        ],
    )
    yield Claim("The mean over the owners of a slot is better than zero padding", "RBLA", owners())
    yield Claim(
        "The mean of products, decomposed, is better than zero padding",
        "FlexLoRA",
        [digits(n, "autorank + flexlora", "autorank + zero_padding", "AutoRank") for n in DIGITS],
    )
    if (RESULTS / "fedara.json").exists():
        yield Claim(
            "Ranks found while training are better than LoRA, FFA-LoRA and FlexLoRA",
            "FedARA",
            list(against_rivals(read("fedara")["fedara"]["runs"])),
        )
    yield Claim(
        "The default is at most 2 points below the best other way to aggregate, with the same help",
        "ours",
        [Place(name, default_ahead(arms)) for name, arms in GRID.items()],
        cost=2.0,
    )
    yield Claim(
        "Eight bits cost at most half a point",
        "ours",
        [
            Place(f"{data.replace('_', ' ')}, {arm}", eight_bits(arms[arm]))
            for data, arms in read("compression")["compression"].items()
            for arm in ("anchored, rank 16", "rbla, rank 16")
            if arm in arms
        ],
        cost=0.5,
    )
    yield Claim(
        "A rank by need, with nothing set, is at most a point below the best rank for all",
        "ours",
        need(need_table.behind_the_best, need_table.NEED),
        cost=1.0,
    )
    yield Claim(
        "... and better than ranks for all that send as many bytes",
        "ours",
        need(need_table.above_the_curve, need_table.NEED),
    )
    yield Claim(
        "... and in eight bits, too, than ranks for all in thirty-two",
        "ours",
        need(need_table.above_the_curve, need_table.SMALL),
    )
    texts = {**read("one_owner")["texts"], **read("banking77")["texts"]}
    yield Claim(
        "A head made of sums of features is better than one drawn at random",
        "FedNCM; ours with LDA",
        [of_texts(texts, "one owner a label", "default", "head at random", on_test_rows)],
    )
    yield Claim(
        "A client's own model is better after a federation than alone",
        "ours",
        [
            of_texts(texts, "one owner a label", "default", "alone", on_own_rows),
            *(
                of_texts(texts, f"Dirichlet {c}", "AutoRank, head by LDA", "alone", on_own_rows)
                for c in (0.1, 1.0)
            ),
        ],
    )


def read(name: str) -> Any:  # noqa: ANN401 - JSON
    """Read a result file."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


DIGITS = {"staircase": "digits_staircase", "double imbalance": "digits_double_imbalance"}
GRID: Mapping[str, Any] = read("safe_default")["grid"]


def late(curve: Sequence[float]) -> float:
    """Return the mean of the last rounds, in points."""
    return 100 * statistics.mean(curve[-LAST:])


def digits(name: str, one: str, other: str, told: str) -> Place:
    """Compare two arms on the digits."""
    return of_arms(f"{name}, {told} (digits)", read(DIGITS[name])["arms"], one, other)


def of_arms(name: str, arms: Mapping[str, Any], one: str, other: str) -> Place:
    """Compare two arms of a file of ``scripts/collect.py``, seed by seed."""
    first, second = (
        {s: late(run["test_accuracy"]) for s, run in arms[a].items()} for a in (one, other)
    )
    return Place(name, [first[seed] - second[seed] for seed in first])


def of_grid(arms: Mapping[str, Any], one: str, other: str) -> list[float]:
    """Compare two arms of a federation of ``benchmarks/safe_default.py``, seed by seed."""
    return [late(curve) - late(arms[other][seed]) for seed, curve in arms[one].items()]


def owners() -> list[Place]:
    """Compare RBLA and zero padding: ranks that suit the data, random ones, reversed ones."""
    ranks = {"autorank": "AutoRank", "random": "random ranks"}
    return [
        *(
            digits(name, f"{chosen} + rbla", f"{chosen} + zero_padding", told)
            for name in DIGITS
            for chosen, told in ranks.items()
        ),
        of_arms(
            "staircase (MNIST)",
            read("mnist_staircase")["arms"],
            "ratio + rbla",
            "ratio + zero_padding",
        ),
        *(
            Place(n, of_grid(arms, "rbla", "zero_padding"))
            for n, arms in GRID.items()
            if "reversed" in n
        ),
    ]


def need(gain: Callable[..., list[float]], arm: str) -> list[Place]:
    """Compare ranks by need with ranks for all in every federation."""
    runs = read("need")["need"]["runs"]
    return [
        Place(need_table.title(place), gain(runs, place, arm)) for place in need_table.places(runs)
    ]


def default_ahead(arms: Mapping[str, Any]) -> list[float]:
    """Return how far the default is ahead of the best other aggregator of the same ranks."""
    others = [name for name in arms if name != "anchored" and "one rank" not in name]
    best = max(others, key=lambda name: statistics.mean(map(late, arms[name].values())))
    return of_grid(arms, "anchored", best)


def eight_bits(arm: Mapping[str, Any]) -> list[float]:
    """Return how far the runs in eight bits are ahead of those in thirty-two."""
    whole = arm["none"]
    return [
        100 * (run["test_accuracy"] - whole[seed]["test_accuracy"])
        for seed, run in arm["int8"].items()
    ]


def on_test_rows(run: Mapping[str, Any]) -> float:
    """Return the accuracy after the last round."""
    return float([*run["test_accuracy"].values()][-1])


def on_own_rows(run: Mapping[str, Any]) -> float:
    """Return the accuracy of clients' own models on their own test rows."""
    return float(run["own_rows"]["personal"])


def of_texts(
    texts: Mapping[str, Any], where: str, one: str, other: str, number: Callable[[Any], float]
) -> Place:
    """Compare two arms on Banking77, seed by seed."""
    first, second = texts[where][one], texts[where][other]
    better = [100 * (number(run) - number(second[s])) for s, run in first.items() if s in second]
    return Place(f"{where} (Banking77)", better)


def against_rivals(runs: Sequence[Mapping[str, Any]]) -> Iterator[Place]:
    """Yield for each federation how far FedARA is ahead of the best of its rivals."""
    for where in fedara_table.places(runs):
        rivals = [
            fedara_table.differences(runs, fedara_table.METHOD, rival, *where)
            for rival in fedara_table.RIVALS
            if rival != "default"
        ]
        data, concentration, head = where
        name = f"Dirichlet {concentration}, head {fedara_table.head_name(head)}"
        yield Place(f"{name} ({fedara_table.NAMES[data]})", min(rivals, key=statistics.mean))
