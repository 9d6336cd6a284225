"""AutoRank: richer data, higher rank.

Chen, Tavallaie, Nazemi, Chen, Zomaya, "AutoRank: MCDA Based Rank Personalization for
LoRA-Enabled Distributed Learning", 2024, https://arxiv.org/abs/2412.15553

Ours beyond the paper: budget and caps, criterion weights by hand, cost criteria.
"""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np

from polyrank.allocators.choice import Choice, Evidence, Floats, id_order
from polyrank.allocators.limits import Limits
from polyrank.allocators.marks import reads_criteria
from polyrank.allocators.spread import spread
from polyrank.errors import SettingsError, UnknownNameError, nearest
from polyrank.mcda import Normalisation, balance, critic, topsis

NamedWeights = Literal["critic", "equal"]
CriterionWeights = NamedWeights | Mapping[str, float]


@reads_criteria
def autorank(
    evidence: Evidence,
    limits: Limits,
    *,
    criterion_weights: CriterionWeights = "critic",
    cost_criteria: tuple[str, ...] = (),
    normalisation: Normalisation = "vector",
    refresh_every: int | None = None,
) -> Choice:
    """Weigh the criteria, score clients with TOPSIS, and spread ranks by score.

    Args:
        evidence: at least one criterion.
        limits: ranges, budget and caps; equal scores get a spare slot in order of client id.
        criterion_weights: ``"critic"``, ``"equal"``, or a weight by criterion name; a
            criterion that is not named then has weight 0.
        cost_criteria: names of the criteria of which less means a higher rank.
        normalisation: see ``polyrank.mcda.topsis``.
        refresh_every: rounds after which a run measures the clients and chooses again; None for
            once, before the first round. It plays no part in one choice.

    Raises:
        SettingsError: no criteria, or impossible weights.
        UnknownNameError: a weight or cost criterion that was not measured.
        BudgetError: the budget is below the cost of the least ranks.
    """
    if refresh_every is not None and refresh_every < 1:
        raise SettingsError(f"autorank: expected refresh_every >= 1, got {refresh_every}")
    names = list(evidence.criteria)
    if not names:
        raise SettingsError("autorank: expected at least one criterion, got none")
    _check_known(cost_criteria, names, "cost_criteria")
    benefit = np.array([name not in cost_criteria for name in names])
    order = id_order(evidence.clients)
    matrix = np.column_stack([evidence.criteria[name] for name in names])[order]
    weights = _weigh(criterion_weights, names, matrix, benefit)
    scores, contributions = np.empty(len(order)), np.empty(matrix.shape)
    scores[order] = topsis(matrix, weights, benefit=benefit, normalisation=normalisation)
    contributions[order] = balance(matrix, weights, benefit=benefit, normalisation=normalisation)
    found = spread(scores, order, evidence, limits)
    return Choice(
        clients=evidence.clients,
        ranks=dict(zip(limits.modules, found.ranks, strict=True)),
        basis="by score",
        scores=scores,
        criterion_weights=dict(zip(names, weights.tolist(), strict=True)),
        contributions=contributions,
        capped=found.capped,
        pull=found.pull,
    )


def _weigh(
    chosen: CriterionWeights, names: list[str], matrix: Floats, benefit: np.ndarray
) -> Floats:
    """Criterion weights (J,) that sum to 1."""
    if chosen == "critic":
        return critic(matrix, benefit=benefit)
    if chosen == "equal":
        return np.full(len(names), 1 / len(names))
    if isinstance(chosen, str):
        raise SettingsError(
            f"criterion_weights: expected 'critic', 'equal' or a weight by name, got {chosen!r}"
        )
    _check_known(chosen, names, "criterion_weights")
    for name, weight in chosen.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise SettingsError(
                f"criterion_weights: expected a finite number >= 0 for {name!r}, got {weight!r}"
            )
    weights = np.array([chosen.get(name, 0.0) for name in names], dtype=np.float64)
    if not weights.any():
        raise SettingsError("criterion_weights: expected one above 0, got only 0")
    weights /= weights.max()
    normed: Floats = weights / weights.sum()
    return normed


def _check_known(
    given: Mapping[str, float] | tuple[str, ...], names: list[str], where: str
) -> None:
    for name in given:
        if name not in names:
            raise UnknownNameError(
                f"{where}: no criterion {name!r} was measured{nearest(name, names)}; "
                f"there are {', '.join(names)}"
            )
