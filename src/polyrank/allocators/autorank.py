"""AutoRank: richer data, higher rank.

Chen, Tavallaie, Nazemi, Chen, Zomaya, "AutoRank: MCDA Based Rank Personalization for
LoRA-Enabled Distributed Learning", 2024, https://arxiv.org/abs/2412.15553

Ours beyond the paper: budget and caps, criterion weights by hand, cost criteria, and ranks
that differ little where clients differ little (``spread``).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from polyrank.allocators.alike import counted, difference
from polyrank.allocators.choice import Choice, Evidence, Floats, id_order
from polyrank.allocators.limits import Limits
from polyrank.allocators.needs import Needs
from polyrank.allocators.spread import spread as spread_out
from polyrank.errors import SettingsError, UnknownNameError, nearest
from polyrank.mcda import Normalisation, balance, critic, topsis

NamedWeights = Literal["critic", "equal"]
CriterionWeights = NamedWeights | Mapping[str, float]
SpreadRule = Literal["relative", "paper"]


@Needs(criteria=True)
def autorank(
    evidence: Evidence,
    limits: Limits,
    *,
    criterion_weights: CriterionWeights = "critic",
    cost_criteria: tuple[str, ...] = (),
    normalisation: Normalisation = "vector",
    spread: SpreadRule = "relative",
) -> Choice:
    """Weigh the criteria, score clients with TOPSIS, and spread ranks by score.

    Args:
        evidence: at least one criterion.
        limits: ranges, budget and caps; equal scores get a spare slot in order of client id.
        criterion_weights: ``"critic"``, ``"equal"``, or a weight by criterion name; a
            criterion that is not named then has weight 0.
        cost_criteria: names of the criteria of which less means a higher rank.
        normalisation: see ``polyrank.mcda.topsis``.
        spread: ``"relative"`` weighs a criterion by how far clients differ in it, and uses as
            much of the range of ranks as they differ altogether: none of it below 5 %, all of it
            from 50 % on (``polyrank.allocators.alike``). ``"paper"`` spreads any difference over
            the whole range.

    Raises:
        SettingsError: no criteria, or impossible weights.
        UnknownNameError: a weight or cost criterion that was not measured.
        BudgetError: the budget is below the cost of the least ranks.
    """
    names = list(evidence.criteria)
    if not names:
        raise SettingsError("autorank: expected at least one criterion, got none")
    _check_known(cost_criteria, names, "cost_criteria")
    benefit = np.array([name not in cost_criteria for name in names])
    order = id_order(evidence.clients)
    matrix = np.column_stack([evidence.criteria[name] for name in names])[order]
    found = _scored(matrix, names, benefit, criterion_weights, normalisation, spread)
    scores, contributions = np.empty(len(order)), np.empty(matrix.shape)
    scores[order], contributions[order] = found.scores, found.contributions
    ranks = spread_out(scores, order, evidence, limits, found.share)
    return Choice(
        clients=evidence.clients,
        ranks=dict(zip(limits.modules, ranks.ranks, strict=True)),
        basis="by score",
        scores=scores,
        criterion_weights=dict(zip(names, found.weights.tolist(), strict=True)),
        contributions=contributions,
        capped=ranks.capped,
        pull=ranks.pull,
        share=found.share,
    )


@dataclass(frozen=True)
class _Scored:
    """Weights (J,), scores (n,), contributions (n, J), and the share of the range to use."""

    weights: Floats
    scores: Floats
    contributions: Floats
    share: float = 1.0


def _scored(
    matrix: Floats,
    names: list[str],
    benefit: np.ndarray,
    chosen: CriterionWeights,
    normalisation: Normalisation,
    rule: SpreadRule,
) -> _Scored:
    """Score the clients (n, J); ``alike`` says what is ours where they differ little."""
    if rule not in get_args(SpreadRule):
        raise SettingsError(f"spread: expected 'relative' or 'paper', got {rule!r}")
    apart = difference(matrix)
    stretch = counted(apart) if rule == "relative" else np.ones(len(names))
    weights = _weigh(chosen, names, matrix, benefit, stretch)
    if not weights.any():
        return _Scored(weights, np.full(len(matrix), 0.5), np.zeros(matrix.shape), 0.0)
    scores = topsis(matrix, weights, benefit=benefit, normalisation=normalisation)
    moved = balance(matrix, weights, benefit=benefit, normalisation=normalisation)
    if rule == "paper":
        return _Scored(weights, scores, moved)
    return _Scored(weights, scores, moved, float(counted(weights @ apart * np.ptp(scores))))


def _weigh(
    chosen: CriterionWeights,
    names: list[str],
    matrix: Floats,
    benefit: np.ndarray,
    stretch: Floats,
) -> Floats:
    """Criterion weights (J,) that sum to 1, each as far as it counts; all 0 where none does."""
    if chosen == "critic":
        return critic(matrix, benefit=benefit, stretch=stretch) if stretch.any() else stretch
    weights = stretch * _given(chosen, names)
    normed: Floats = weights / (weights.sum() or 1.0)
    return normed


def _given(chosen: CriterionWeights, names: list[str]) -> Floats:
    """Criterion weights (J,) as they were asked for, the largest 1."""
    if chosen == "equal":
        return np.ones(len(names))
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
    largest: Floats = weights / weights.max()
    return largest


def _check_known(
    given: Mapping[str, float] | tuple[str, ...], names: list[str], where: str
) -> None:
    for name in given:
        if name not in names:
            raise UnknownNameError(
                f"{where}: no criterion {name!r} was measured{nearest(name, names)}; "
                f"there are {', '.join(names)}"
            )
