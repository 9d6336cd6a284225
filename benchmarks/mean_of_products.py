"""Why the mean of products helps where all ranks are equal: the mean, or the new factors.

    pip install 'polyrank[demo]'
    python benchmarks/mean_of_products.py --out RUNS --results FILE.json [--seeds 3]
        [--data FOLDER] [--jobs N] [--only TEXT]

FlexLoRA differs from FedAvg in two ways: it averages the clients' products and not their factors,
and it goes on with new factors, those of the singular value decomposition. Each of the two alone is
measured beside both and neither: one rank for all, no momentum, no average, in the federations of
``safe_default.py`` (without FOLDER, the digits alone). Each arm has the learning rate, of three,
that is best for it on validation rows. Finished runs are kept and not repeated; what FILE.json has
of other federations stays there.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import compared
import safe_default
import torch

from polyrank.aggregators import mean_product, rank_wise_mean
from polyrank.aggregators.aggregator import Aggregator, PerModule
from polyrank.lora.factors import Factors

TITLE = "Test accuracy with one rank for all, no momentum, no average"
ARMS = {
    "FedAvg": {"aggregator": "rbla"},  # which it is where ranks are equal
    "mean of products, FedAvg's A": {"aggregator": "mean_of_products:kept_a"},
    "FedAvg, new factors": {"aggregator": "mean_of_products:new_factors"},
    "FlexLoRA": {"aggregator": "flexlora"},
}
Updates = list[tuple[Factors, float]]


def new_factors() -> Aggregator:
    """Average the factors, and decompose the product of their means."""
    return Aggregator(
        PerModule(_Whole(lambda of, old: mean_product([(rank_wise_mean(of, old), 1.0)], old)))
    )


def kept_a() -> Aggregator:
    """Average the products, with the mean of the clients' ``a``.

    ``b`` is the one whose product with it is nearest to the mean of the products.
    """
    return Aggregator(PerModule(_Whole(nearest)))


def nearest(updates: Updates, previous: Factors) -> Factors:
    """Return the mean of ``a``, and the ``b`` of which the product is nearest to the products'."""
    mean = rank_wise_mean(updates, previous)
    weights = torch.tensor([weight for _, weight in updates])
    products = torch.stack([f.b.double() @ f.a.double() for f, _ in updates])
    wanted = torch.einsum("k,koi->oi", (weights / weights.sum()).double(), products)
    b = wanted @ torch.linalg.pinv(mean.a.double())
    return Factors(mean.a, b.to(mean.b.dtype), mean.slots)


@dataclass(frozen=True)
class _Whole:
    """A fold that keeps all factors of a round until its end."""

    make: Callable[[Updates, Factors], Factors]

    def init(self, previous: Factors) -> Updates:
        return []

    def add(self, state: Updates, factors: Factors | None, client_weight: float) -> Updates:
        return [*state, (factors, client_weight)] if factors is not None else state

    def finish(self, state: Updates, previous: Factors) -> Factors:
        return self.make(state, previous) if state else previous


def main() -> None:
    """Run what is missing, federation by federation, and write all curves."""
    parser = compared.arguments(__doc__, tune=3, data=False)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    known: dict[str, Any] = {}
    if given.results.exists():
        known = json.loads(given.results.read_text())["one_rank"]
    places = {
        place.alike or f"{place.name}, one rank": place
        for place in safe_default.federations(given.data, given.out)
    }
    for name, place in places.items():
        if given.only not in name:
            continue
        runs = compared.folders(
            {"name": name, "recipe": "paper", **place.settings, **place.one_rank},
            ARMS,
            seeds=given.seeds,
            out=given.out / name.replace(" ", "_"),
            jobs=given.jobs,
            tune=min(place.tune, given.tune_seeds),
            failing=True,
        )
        known[name] = safe_default.measured(runs)
        print(name, {arm: x["0"][-1] for arm, x in known[name].items()}, flush=True)
        grid = {name: known[name] for name in dict.fromkeys([*places, *known]) if name in known}
        given.results.write_text(json.dumps({"title": TITLE, "one_rank": grid}, indent=1) + "\n")


if __name__ == "__main__":
    main()
