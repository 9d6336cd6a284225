import numpy as np
import pytest

from polyrank.allocators import Budget, Evidence, Limits, ModuleRange
from polyrank.errors import BudgetError, DataError, SettingsError, ShapeError


@pytest.mark.parametrize("bounds", [(0, 4), (5, 4)])
def test_impossible_range(bounds):
    with pytest.raises(SettingsError, match="1 <= r_min <= r_max"):
        ModuleRange(*bounds, 10)


def test_impossible_slot():
    with pytest.raises(SettingsError, match="slot_parameters >= 1"):
        ModuleRange(1, 4, 0)


def test_a_budget_above_the_largest_ranks_is_told_with_what_is_feasible():
    """Two modules and two clients, one of which can hold rank 3 and the other 9."""
    modules = {"m": ModuleRange(1, 4, 10), "n": ModuleRange(1, 12, 5)}
    caps = np.array([3, 9])
    fits = Limits(modules, Budget("mean_rank", 4.75), caps)  # (3 + 4 + 3 + 9) / 4
    assert fits.beyond(["a", "b"]) is None
    assert Limits(modules, None, caps).beyond(["a", "b"]) is None
    said = Limits(modules, Budget("mean_rank", 5), caps).beyond(["a", "b"])
    assert "5 (mean_rank) cannot be spent" in said
    assert said.endswith("the feasible range is 1 to 4.75")
    said = Limits(modules, Budget("parameters", 131), caps).beyond(["a", "b"])
    assert said.endswith("30 to 130")  # 10 * (3 + 4) + 5 * (3 + 9)


@pytest.mark.parametrize("amount", [0, -1, np.nan, np.inf])
def test_impossible_budget(amount):
    with pytest.raises(SettingsError, match="finite number above 0"):
        Budget("mean_rank", amount)


def test_unknown_budget():
    with pytest.raises(SettingsError, match="one of mean_rank, parameters, bytes, got 'slots'"):
        Budget("slots", 3)
    with pytest.raises(SettingsError, match="bytes_per_number"):
        Budget("bytes", 3, 0)


def test_price_of_a_slot_by_kind():
    """A slot of 30 parameters: one slot, 30 parameters, 30 * 2 bytes."""
    module = ModuleRange(1, 4, 30)
    assert Budget("mean_rank", 9).price(module) == 1
    assert Budget("parameters", 9).price(module) == 30
    assert Budget("bytes", 9, bytes_per_number=2).price(module) == 60


def test_no_modules():
    with pytest.raises(SettingsError, match="at least one module"):
        Limits({})


@pytest.mark.parametrize("cap", [0, -3, 2.5, np.nan])
def test_impossible_cap_names_the_client(cap):
    limits = Limits({"m": ModuleRange(1, 4, 1)}, caps=np.array([3, cap]))
    with pytest.raises(SettingsError, match="client 'b'"):
        limits.bounds(["a", "b"])


def test_caps_must_be_one_per_client():
    with pytest.raises(ShapeError, match="2 caps"):
        Limits({"m": ModuleRange(1, 4, 1)}, caps=np.array([3])).bounds(["a", "b"])


def test_feasible_range_is_in_the_unit_of_the_budget():
    """Two clients, 1 to 4 slots of 30 parameters in float32: 240 to 960 bytes; cap 2: 720."""
    limits = Limits({"m": ModuleRange(1, 4, 30)}, Budget("bytes", 100), np.array([2, 4]))
    with pytest.raises(BudgetError, match=r"100 .bytes. .* which cost 240; .* 240 to 720"):
        limits.check_cost(np.array([[1, 1]]), ["a", "b"], "the least ranks")


def test_evidence_names_what_is_wrong():
    with pytest.raises(SettingsError, match="at least one client"):
        Evidence([], {})
    with pytest.raises(SettingsError, match="'b' more than once"):
        Evidence(["b", "a", "b"], {})
    with pytest.raises(ShapeError, match="criterion 'x': expected 2 values"):
        Evidence(["a", "b"], {"x": np.ones(3)})
    with pytest.raises(DataError, match=r"criterion 'x' of client 'b': .* got nan"):
        Evidence(["a", "b"], {"x": np.array([1, np.nan])})


def test_evidence_takes_an_array_of_names():
    assert Evidence(np.array(["a", "b"]), {}).clients == ["a", "b"]
