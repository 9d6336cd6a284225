"""Add the mean of the products to the base, and start every round with new factors (FLoRA).

Wang et al., "FLoRA: Federated Fine-Tuning Large Language Models with Heterogeneous Low-Rank
Adaptations", 2024, https://arxiv.org/abs/2409.05976

The server stacks the clients' factors, and each client multiplies the stack out into its own
base: nothing is cut off, and ranks may differ. A stack that is larger than the base's module
is sent multiplied out.

Ours, where the paper is silent: new factors are drawn from the seed and the round, the same
for all, and so are not sent; a client that missed rounds gets the stacks of these, too.
"""

from collections.abc import Iterable

import torch

from polyrank.aggregators.aggregator import Aggregator, Moved, PerModule, fold_moved
from polyrank.aggregators.local_rule import LocalRule
from polyrank.aggregators.product_sums import ProductSums, SumsProducts
from polyrank.lora.base_change import Step
from polyrank.lora.factors import NONE, Factors
from polyrank.lora.low_rank import scaled


def stacked_mean(updates: Iterable[tuple[Factors, float]], previous: Factors) -> Step:
    """Stack the clients' factors so that their product is the mean of the products.

    ``b = [w_1 b_1, w_2 b_2, ...] / sum_k w_k`` and ``a = [a_1; a_2; ...]``: ``b a = sum_k w_k b_k
    a_k / sum_k w_k``.

    Args:
        updates: per client, its factors and a positive weight, usually its number of
            training examples. Read once.
        previous: the server's factors, which fix d_in and d_out.

    Returns:
        ``b`` (d_out, n) and ``a`` (n, d_in), n the sum of the ranks; or the mean itself,
        (d_out, d_in), where n reaches min(d_in, d_out). No columns without updates.

    Raises:
        ShapeError: a client's d_in or d_out differs from the server's, or a slot is not there.
    """
    moved = fold_moved(StackedMean(), updates, previous)
    assert isinstance(moved, Moved)
    return moved.step


class StackedMean(SumsProducts):
    """The rule as a fold of one module, for ``PerModule``; the next ``b`` is zero."""

    def finish(self, state: ProductSums, previous: Factors) -> Moved:
        """Return the mean as a step of the base."""
        step = scaled(state.products.product(), 1 / state.total if state.total else 0.0)
        return Moved(Factors(previous.a, torch.zeros_like(previous.b), previous.slots), step)


def flora() -> Aggregator:
    """Add the mean of the products to the base; factors start anew in every round."""
    rule = LocalRule(receives=NONE, absent="fresh")
    return Aggregator(
        PerModule(StackedMean()),
        frozenset({"exact", "basis_free"}),
        local=lambda round: rule,
        changes_base=True,
    )
