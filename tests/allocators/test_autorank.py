import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrank.allocators import (
    Budget,
    Evidence,
    Limits,
    ModuleRange,
    explain,
    reasons,
    spread_note,
)
from polyrank.allocators.alike import counted, difference
from polyrank.allocators.autorank import autorank
from polyrank.errors import SettingsError, UnknownNameError
from polyrank.mcda import critic, topsis

LIMITS = Limits({"m": ModuleRange(4, 64, 10)})
EVIDENCE = Evidence(
    ["a", "b", "c"], {"x": np.array([1.0, 2.0, 3.0]), "y": np.array([9.0, 0.0, 5.0])}
)


def test_as_published_it_is_critic_then_topsis_then_min_max():
    matrix = np.column_stack(list(EVIDENCE.criteria.values()))
    scores = topsis(matrix, critic(matrix))
    expected = np.rint(4 + (scores - scores.min()) / np.ptp(scores) * 60)
    choice = autorank(EVIDENCE, LIMITS, spread="paper")
    assert choice.ranks["m"].tolist() == expected.tolist()
    np.testing.assert_allclose(choice.scores, scores)


def test_weights_by_hand_are_normalised_and_the_unnamed_are_out():
    choice = autorank(EVIDENCE, LIMITS, criterion_weights={"x": 5.0})
    assert choice.criterion_weights == {"x": 1.0, "y": 0.0}
    assert choice.ranks["m"].tolist() == [4, 34, 64]


def test_cost_criterion_turns_the_order_round():
    choice = autorank(EVIDENCE, LIMITS, criterion_weights={"x": 1.0}, cost_criteria=("x",))
    assert choice.ranks["m"].tolist() == [64, 34, 4]


def test_equal_weights():
    choice = autorank(EVIDENCE, LIMITS, criterion_weights="equal")
    assert choice.criterion_weights == {"x": 0.5, "y": 0.5}


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"criterion_weights": {"z": 1.0}}, UnknownNameError, "no criterion 'z'"),
        ({"cost_criteria": ("z",)}, UnknownNameError, "cost_criteria: no criterion 'z'"),
        ({"criterion_weights": {"x": -1.0}}, SettingsError, ">= 0 for 'x', got -1.0"),
        ({"criterion_weights": {"x": 0.0}}, SettingsError, "got only 0"),
        ({"criterion_weights": "entropy"}, SettingsError, "got 'entropy'"),
    ],
)
def test_impossible_options(options, error, said):
    with pytest.raises(error, match=said):
        autorank(EVIDENCE, LIMITS, **options)


def test_no_criteria():
    with pytest.raises(SettingsError, match="at least one criterion"):
        autorank(Evidence(["a"], {}), LIMITS)


def test_reasons_name_position_criteria_cap_and_budget():
    """x = 1, 2, 3 and y = 0, 0, 1: c is best in both, a worst in both."""
    evidence = Evidence(
        ["a", "b", "c"], {"x": np.array([1.0, 2.0, 3.0]), "y": np.array([0.0, 0.0, 1.0])}
    )
    limits = Limits({"m": ModuleRange(4, 64, 10)}, caps=np.array([64, 64, 8]))
    choice = autorank(evidence, limits, criterion_weights={"x": 1.0, "y": 0.1})
    first, _, last = reasons(choice)
    assert first == "position 3 of 3; lowered most by x"
    assert last == "position 1 of 3; lifted most by x; held by its cap"
    assert explain(choice, 2) == last


def test_what_a_criterion_did_is_told_of_the_client_that_it_did_it_to():
    """Clients come in any order; scores and contributions are those of the sorted ones."""
    values = {"x": {"b": 1.0, "c": 2.0, "a": 3.0}, "y": {"b": 9.0, "c": 0.0, "a": 5.0}}

    def told(clients):
        evidence = Evidence(
            clients, {n: np.array([of[c] for c in clients]) for n, of in values.items()}
        )
        choice = autorank(evidence, LIMITS)
        parts = zip(choice.scores.tolist(), choice.contributions.tolist(), strict=True)
        return dict(zip(clients, parts, strict=True))

    assert told(["b", "c", "a"]) == told(["a", "b", "c"])
    assert len({tuple(parts) for _, parts in told(["b", "c", "a"]).values()}) == 3


def test_equal_scores_share_a_position():
    choice = autorank(Evidence(["a", "b", "c"], {"x": np.array([5.0, 5.0, 1.0])}), LIMITS)
    assert [text.split(";")[0] for text in reasons(choice)] == [
        "position 1 of 3",
        "position 1 of 3",
        "position 3 of 3",
    ]


def of(*columns, budget=None, **options):
    """Choose by criteria given as columns, ranks from 4 to 64."""
    evidence = Evidence(
        [f"c{at}" for at in range(len(columns[0]))],
        {name: np.array(column, float) for name, column in zip("xyz", columns, strict=False)},
    )
    return autorank(evidence, Limits(LIMITS.modules, budget), **options)


def ranks(*columns, **options):
    return of(*columns, **options).ranks["m"].tolist()


def test_clients_that_hardly_differ_get_one_rank():
    """1000 and 1001 examples of the same labels: 4 and 64 as published."""
    examples, entropy = [1000, 1001], [2.3, 2.3]
    assert ranks(examples, entropy) == [34, 34]
    assert ranks(examples, entropy, spread="paper") == [4, 64]
    assert ranks(examples, entropy, normalisation="minmax") == [34, 34]
    assert ranks(examples, entropy, criterion_weights={"x": 1.0}) == [34, 34]
    assert ranks(examples, entropy, budget=Budget("mean_rank", 10)) == [10, 10]


def test_the_noise_of_a_probe_does_not_tell_three_equal_clients_apart():
    """The same rows three times; the probes' batches differ: loss entropies of a run."""
    noisy, same = [0.9973, 0.9988, 0.9994], [120, 120, 120]
    assert ranks(noisy, same) == [34, 34, 34]
    assert sorted(ranks(noisy, same, spread="paper"))[::2] == [4, 64]


def test_a_criterion_that_hardly_differs_gets_no_weight():
    """0.997 to 1.000 beside counts that differ a hundredfold, in the opposite order."""
    flat, counts = [1.0, 0.999, 0.998, 0.997], [3, 40, 100, 300]
    paper = of(flat, counts, spread="paper").criterion_weights
    assert paper["x"] > 0.2
    choice = of(flat, counts)
    assert choice.criterion_weights == {"x": 0.0, "y": 1.0}
    for weights in ("equal", {"x": 3.0, "y": 1.0}):
        assert of(flat, counts, criterion_weights=weights).criterion_weights == {"x": 0.0, "y": 1.0}
    assert ranks(flat, counts, normalisation="minmax") == ranks(counts)
    assert ranks(flat, counts)[::3] == [4, 64]
    assert not any(" x" in text for text in reasons(choice))


def test_clients_that_differ_twofold_use_the_whole_range_and_paper_is_the_same_then():
    for column in ([10, 20], [1, 100], [10, 12, 20]):
        assert ranks(column) == ranks(column, spread="paper")
    assert of([10, 20]).share == 1.0


def test_differences_by_hand():
    """A half counts in full, 27.5 % (the middle of 5 and 50) as one half, 5 % not at all."""
    matrix = np.array([[1.0, 72.5, 95.0, 0.0, -3.0], [2.0, 100.0, 100.0, 0.0, 3.0]])
    np.testing.assert_allclose(difference(matrix), [0.5, 0.275, 0.05, 0, 1])
    np.testing.assert_allclose(counted(difference(matrix)), [1, 0.5, 0, 0, 1], atol=1e-12)
    assert difference(np.array([[1e308], [-1e308]])).tolist() == [1.0]


def test_scores_that_hardly_differ_use_little_of_the_range_too():
    """What one client has more of, the other has less of, nearly the same: either may lead."""
    first, second = (ranks([1, 2], [2 + more, 1]) for more in (0.001, -0.001))
    assert first == second == [34, 34]
    assert sorted(ranks([1, 2], [2.001, 1], spread="paper")) == [4, 64]


matrices = st.integers(2, 5).flatmap(
    lambda n: st.lists(st.lists(st.floats(1, 20), min_size=n, max_size=n), min_size=1, max_size=3)
)


@settings(deadline=None, max_examples=25)
@given(columns=matrices, budget=st.none() | st.floats(4, 64))
def test_ranks_grow_apart_without_jumps(columns, budget):
    """From all alike to as they are, in 100 steps: no rank of 4 to 64 moves by more than 6."""
    matrix = np.array(columns)
    middle = matrix.mean(axis=1, keepdims=True)
    limit = None if budget is None else Budget("mean_rank", budget)
    path = [ranks(*(middle + t * (matrix - middle)), budget=limit) for t in np.linspace(0, 1, 101)]
    assert np.ptp(path[0]) <= (budget is not None)  # a budget's spare slots
    assert np.abs(np.diff(path, axis=0)).max() <= 6


@settings(deadline=None, max_examples=40)
@given(columns=matrices, power=st.integers(-6, 6), at=st.integers(0, 2))
def test_the_unit_of_a_criterion_does_not_matter(columns, power, at):
    scaled = [np.array(c) * (2.0**power if j == at else 1) for j, c in enumerate(columns)]
    assert ranks(*scaled) == ranks(*columns)


@settings(deadline=None, max_examples=40)
@given(columns=matrices, normalisation=st.sampled_from(["vector", "minmax"]))
def test_no_worse_in_anything_never_means_a_smaller_rank(columns, normalisation):
    choice = of(*columns, normalisation=normalisation)
    matrix, found = np.array(columns), choice.ranks["m"]
    for i in range(len(found)):
        better = (matrix >= matrix[:, [i]]).all(axis=0)
        assert (found[better] >= found[i]).all()


def test_reasons_say_that_clients_are_alike_or_differ_little():
    alike = of([1000, 1001], budget=Budget("mean_rank", 10))
    assert alike.share == 0
    assert list(alike.criterion_weights.values()) == [0.0]
    assert set(reasons(alike)) == {
        "clients are too alike to tell apart; lowered by the budget",
    }
    little = of([1000, 1250])
    assert list(reasons(little)) == [
        "position 2 of 2 that differ little; lowered most by x",
        "position 1 of 2 that differ little; lifted most by x",
    ]
    assert 24 <= little.ranks["m"][0] < 34 < little.ranks["m"][1] <= 44


def test_the_note_on_the_spread():
    assert spread_note(1.0) == ""
    assert spread_note(0.0) == "Clients are too alike to tell apart, so all get one rank."
    assert spread_note(1 / 3) == "Clients differ little, so ranks use 33 % of their range."


def test_a_criterion_that_moved_a_score_by_nothing_is_not_named():
    """As published, y pulls the first client up, by a ten-thousandth of what x pulls it down."""
    choice = of([1, 50, 100], [1.001, 1.0, 1.0], spread="paper", criterion_weights="equal")
    assert choice.contributions[0, 1] > 0
    assert explain(choice, 0) == "position 3 of 3; lowered most by x"


def test_an_unknown_spread():
    with pytest.raises(SettingsError, match="spread: expected 'relative' or 'paper', got 'all'"):
        of([1, 2], spread="all")


def test_a_spare_slot_goes_by_score_where_clients_are_too_alike_for_ranks_of_their_own():
    criteria = {"x": [0.0, 0.0, -1.0], "y": [0.0, -1.0, 0.0], "z": [-1.0, 0.0, 1.0]}
    evidence = Evidence(["1", "a", "11"], {n: np.array(v) for n, v in criteria.items()})
    limits = Limits({"m": ModuleRange(1, 2, 1)}, Budget("mean_rank", 5 / 3))
    choice = autorank(evidence, limits)
    assert choice.share == 0
    assert choice.ranks["m"][np.argsort(choice.scores)].tolist() == [1, 2, 2]
