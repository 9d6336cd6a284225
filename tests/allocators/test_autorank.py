import numpy as np
import pytest

from polyrank.allocators import Evidence, Limits, ModuleRange, explain, reasons
from polyrank.allocators.autorank import autorank
from polyrank.errors import SettingsError, UnknownNameError
from polyrank.mcda import critic, topsis

LIMITS = Limits({"m": ModuleRange(4, 64, 10)})
EVIDENCE = Evidence(
    ["a", "b", "c"], {"x": np.array([1.0, 2.0, 3.0]), "y": np.array([9.0, 0.0, 5.0])}
)


def test_is_critic_then_topsis_then_min_max():
    matrix = np.column_stack(list(EVIDENCE.criteria.values()))
    scores = topsis(matrix, critic(matrix))
    expected = np.rint(4 + (scores - scores.min()) / np.ptp(scores) * 60)
    choice = autorank(EVIDENCE, LIMITS)
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
