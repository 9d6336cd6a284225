"""What papers claim, and what we do, with by how much it is better in each result file."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import fedara_table
import need_table
import verdict_table
from claim import Claim, Place
from data_names import written
from verdict_table import Results

LAST = 5  # rounds whose mean accuracy is told
DIGITS = {"staircase": "digits_staircase", "double imbalance": "digits_double_imbalance"}


def tried(results: Results) -> list[Claim]:
    """Return the claims that the results have something to say about."""
    return [claim for claim in claims(results) if claim.places]


def claims(results: Results) -> Iterator[Claim]:
    """Yield all claims, those of papers first."""
    yield Claim(
        "Ranks from the clients' data are better than one rank for all of the same budget",
        "AutoRank",
        [
            Place(name, [(b - a) if less else (a - b) for a, b in zip(*two, strict=True)])
            for name, *two, less in verdict_table.rows(results)
        ],
    )
    yield Claim(
        "... and better than random ranks of the same budget",
        "AutoRank",
        [
            place
            for by in ("default", "flexlora", "rbla")
            for place in digits(results, f"autorank + {by}", f"random + {by}", by)
        ],
    )
    grid = grid_of(results)
    yield Claim(
        "Ranks by hand that grow with the data are better than one rank for all, on staircases",
        "ours",
        [
            Place(name, of_grid(arms, "anchored", "one rank for all, anchored"))
            for name, arms in grid.items()
            if name.endswith("staircase")
        ],
    )
    yield Claim(
        "The mean over the owners of a slot is better than zero padding",
        "RBLA",
        [*owners(results)],
    )
    yield Claim(
        "The mean of products, decomposed, is better than zero padding",
        "FlexLoRA",
        [*digits(results, "autorank + flexlora", "autorank + zero_padding", "AutoRank")],
    )
    yield Claim(
        "Ranks found while training are better than LoRA, FFA-LoRA and FlexLoRA",
        "FedARA",
        [*against_rivals(results)],
    )
    yield Claim(
        "The default is at most 2 points below the best other way to aggregate, with the same help",
        "ours",
        [Place(name, default_ahead(arms)) for name, arms in grid.items()],
        cost=2.0,
    )
    yield Claim(
        "... and never below 0.9 of it",
        "ours",
        [Place(name, default_ahead(arms, of=0.9)) for name, arms in grid.items()],
    )
    yield Claim(
        "Eight bits cost at most half a point",
        "ours",
        [*eight_bits(results)],
        cost=0.5,
    )
    yield Claim(
        "A rank by need, with nothing set, is at most a point below the best rank for all",
        "ours",
        [*need(results, need_table.behind_the_best, need_table.NEED)],
        cost=1.0,
    )
    yield Claim(
        "... and better than ranks for all that send as many bytes",
        "ours",
        [*need(results, need_table.above_the_curve, need_table.NEED)],
    )
    one_owner = "one owner a label"
    yield Claim(
        "A head made of sums of features is better than one drawn at random",
        "FedNCM; ours with LDA",
        [*of_texts(results, one_owner, "default", "head at random", on_test_rows)],
    )
    skewed = [(f"Dirichlet {c}", "AutoRank, head by LDA") for c in (0.1, 1.0)]
    yield Claim(
        "A client's own model is better after a federation than alone from the same head",
        "ours",
        [
            place
            for where, arm in ((one_owner, "default"), *skewed)
            for place in of_texts(results, where, arm, "alone", on_own_rows)
        ],
    )


def late(curve: Sequence[float]) -> float:
    """Return the mean of the last rounds, in points."""
    return 100 * statistics.mean(curve[-LAST:])


def digits(results: Results, one: str, other: str, told: str) -> Iterator[Place]:
    """Compare two arms on the digits."""
    for name, file in DIGITS.items():
        if file in results:
            yield of_arms(f"{name}, {told} (digits)", results[file]["arms"], one, other)


def of_arms(name: str, arms: Mapping[str, Any], one: str, other: str) -> Place:
    """Compare two arms of a file of ``benchmarks/arms.py``, seed by seed."""
    first, second = (
        {s: late(run["test_accuracy"]) for s, run in arms[a].items()} for a in (one, other)
    )
    return Place(name, [first[seed] - second[seed] for seed in first])


def grid_of(results: Results) -> Mapping[str, Any]:
    """Return the federations of ``benchmarks/safe_default.py``, and their arms."""
    grid = results.get("safe_default", {"grid": {}})["grid"]
    return {written(name): arms for name, arms in grid.items()}


def of_grid(arms: Mapping[str, Any], one: str, other: str) -> list[float]:
    """Compare two arms of a federation of ``benchmarks/safe_default.py``, seed by seed."""
    return [late(curve) - late(arms[other][seed]) for seed, curve in arms[one].items()]


def owners(results: Results) -> Iterator[Place]:
    """Compare RBLA and zero padding: ranks that suit the data, random ones, reversed ones."""
    for chosen, told in {"autorank": "AutoRank", "random": "random ranks"}.items():
        yield from digits(results, f"{chosen} + rbla", f"{chosen} + zero_padding", told)
    if "mnist_staircase" in results:
        arms = results["mnist_staircase"]["arms"]
        yield of_arms("staircase (MNIST)", arms, "ratio + rbla", "ratio + zero_padding")
    for name, arms in grid_of(results).items():
        if "reversed" in name:
            yield Place(name, of_grid(arms, "rbla", "zero_padding"))


def need(results: Results, gain: Callable[..., list[float]], arm: str) -> Iterator[Place]:
    """Compare ranks by need with ranks for all in every federation."""
    runs = results["need"]["need"]["runs"] if "need" in results else []
    for place in need_table.places(runs):
        yield Place(need_table.title(place), gain(runs, place, arm))


def default_ahead(arms: Mapping[str, Any], of: float = 1.0) -> list[float]:
    """Return how far the default is ahead of a share of the best other way, with these ranks."""
    others = [name for name in arms if name != "anchored" and "one rank" not in name]
    best = max(others, key=lambda name: statistics.mean(map(late, arms[name].values())))
    return [late(curve) - of * late(arms[best][seed]) for seed, curve in arms["anchored"].items()]


def eight_bits(results: Results) -> Iterator[Place]:
    """Compare runs in eight bits with those in thirty-two."""
    for data, arms in results.get("compression", {"compression": {}})["compression"].items():
        for arm in ("anchored, rank 16", "rbla, rank 16"):
            whole, small = ({s: 100 * r["test_accuracy"] for s, r in arms[arm][bits].items()}
                            for bits in ("none", "int8"))  # fmt: skip
            better = [value - whole[seed] for seed, value in small.items()]
            yield Place(f"{written(data)}, {arm}", better)


def on_test_rows(run: Mapping[str, Any]) -> float:
    """Return the accuracy after the last round."""
    return float([*run["test_accuracy"].values()][-1])


def on_own_rows(run: Mapping[str, Any]) -> float:
    """Return the accuracy of clients' own models on their own test rows."""
    return float(run["own_rows"]["personal"])


def of_texts(
    results: Results, where: str, one: str, other: str, number: Callable[[Any], float]
) -> Iterator[Place]:
    """Compare two arms on Banking77, seed by seed."""
    for name in ("one_owner", "banking77"):
        found = results.get(name, {"texts": {}})["texts"].get(where)
        if found:
            first, second = (
                {s: 100 * number(r) for s, r in found[a].items()} for a in (one, other)
            )
            better = [value - second[seed] for seed, value in first.items() if seed in second]
            yield Place(f"{where} (Banking77)", better)


def against_rivals(results: Results) -> Iterator[Place]:
    """Yield for each federation how far FedARA is ahead of the best of its rivals."""
    runs = results["fedara"]["fedara"]["runs"] if "fedara" in results else []
    for where in fedara_table.places(runs):
        rivals = [
            fedara_table.differences(runs, fedara_table.METHOD, rival, *where)
            for rival in fedara_table.RIVALS
            if rival != "default"
        ]
        data, concentration, head = where
        name = f"Dirichlet {concentration}, head {fedara_table.head_name(head)}"
        yield Place(f"{name} ({fedara_table.NAMES[data]})", min(rivals, key=statistics.mean))
