"""eva on spectra by hand; that its ranks are PEFT's is in ``tests/client/test_activations.py``."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrank.allocators import ALLOCATORS, Budget, Evidence, Limits, ModuleRange, Needs, reasons
from polyrank.allocators.eva import eva
from polyrank.allocators.uniform import uniform
from polyrank.errors import BudgetError, DataError, SettingsError
from polyrank.registry import Named

STEEP = [0.6, 0.2, 0.1, 0.05, 0.03, 0.02]
FLAT = [0.25, 0.22, 0.18, 0.15, 0.11, 0.09]
RANGES = {"steep": ModuleRange(1, 6, 10), "flat": ModuleRange(1, 6, 10)}


def evidence(**spectra):
    return Evidence([*spectra], {}, spectra=spectra)


def ranks(choice):
    return {module: row.tolist() for module, row in choice.ranks.items()}


def test_by_hand():
    """Six slots: .6 and .25 are theirs, then .22 .2 .18 .15: two and four."""
    choice = eva(evidence(a={"steep": STEEP, "flat": FLAT}), Limits(RANGES), rank=3)
    assert ranks(choice) == {"steep": [2], "flat": [4]}
    assert next(reasons(choice)) == (
        "the same total for all, by module where the client's inputs vary most"
    )


def test_each_client_by_its_own_inputs_with_the_same_total():
    both = evidence(a={"steep": STEEP, "flat": FLAT}, b={"steep": FLAT, "flat": STEEP})
    assert ranks(eva(both, Limits(RANGES), rank=3)) == {"steep": [2, 4], "flat": [4, 2]}


def test_rho_holds_a_module():
    """4.5 is 4, half to even; 4.8 is 5; 1.0 * 3 leaves nothing to move."""
    given = evidence(a={"steep": [0.3, 0.3, 0.3, 0.04, 0.03, 0.02], "flat": [0.02] * 6})
    got = [ranks(eva(given, Limits(RANGES), rank=3, rho=rho)) for rho in (1.0, 1.5, 1.6, 2.0)]
    assert got == [{"steep": [s], "flat": [6 - s]} for s in (3, 4, 5, 5)]


def test_least_ranks_are_kept():
    ranges = {"steep": ModuleRange(1, 6, 10), "flat": ModuleRange(2, 6, 10)}
    given = evidence(a={"steep": [0.2] * 5, "flat": [0.1] * 6})
    assert ranks(eva(given, Limits(ranges), rank=3)) == {"steep": [4], "flat": [2]}
    assert ranks(eva(given, Limits(ranges), rank=1)) == {"steep": [1], "flat": [2]}


def test_components_that_were_cut_count_as_0():
    """Shared out by component, then by module, until the total is spent."""
    given = evidence(a={"steep": [0.5], "flat": []})
    assert ranks(eva(given, Limits(RANGES), rank=2)) == {"steep": [2], "flat": [2]}
    assert ranks(eva(given, Limits(RANGES), rank=6)) == {"steep": [6], "flat": [6]}


def test_a_budget_in_bytes_is_moved_as_bytes():
    """Uniform rank 2: 2 * 100 + 2 * 10 parameters. Least 110; of the other 110, .4 takes 100
    and .3 the last 10. With .4 below .3 .2 .1 the cheap module takes 30, and 100 no longer fits.
    """
    ranges = {"dear": ModuleRange(1, 4, 100), "cheap": ModuleRange(1, 4, 10)}
    limits = Limits(ranges, Budget("bytes", 220 * 4))
    one = evidence(a={"dear": [0.5, 0.4, 0.1], "cheap": [0.35, 0.3, 0.2, 0.1]})
    other = evidence(a={"dear": [0.5, 0.05], "cheap": [0.35, 0.3, 0.2, 0.1]})
    assert ranks(eva(one, limits)) == {"dear": [2], "cheap": [2]}
    assert ranks(eva(other, limits)) == {"dear": [1], "cheap": [4]}


def test_what_a_dear_slot_leaves_goes_to_cheap_ones():
    """130 less the least 60 is 70: a slot of 50, no second one, two slots of 10."""
    ranges = {"dear": ModuleRange(1, 9, 50), "cheap": ModuleRange(1, 9, 10)}
    given = evidence(a={"dear": [0.3, 0.3, 0.3], "cheap": [0.3, 0.05, 0.02]})
    limits = Limits(ranges, Budget("parameters", 130))
    assert ranks(eva(given, limits)) == {"dear": [2], "cheap": [3]}


def test_a_cap_wins_and_is_told():
    limits = Limits(RANGES, caps=np.array([3, 3, 6]))
    given = evidence(
        held={"steep": STEEP, "flat": FLAT},
        level={"steep": FLAT, "flat": FLAT},
        free={"steep": STEEP, "flat": FLAT},
    )
    choice = eva(given, limits, rank=3)
    assert ranks(choice) == {"steep": [3, 3, 2], "flat": [3, 3, 4]}
    assert choice.capped.tolist() == [True, False, False]


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_the_largest_ratios_of_all_modules_get_the_slots(data):
    """Sorted as one list, as the paper says it, where every module has one that counts."""
    modules = [f"m{at}" for at in range(data.draw(st.integers(1, 4)))]
    rank = data.draw(st.integers(1, 5))
    weight = st.integers(1, 10**6)
    given = {
        m: sorted(v / 1e8 for v in data.draw(st.sets(weight, min_size=8, max_size=8)))[::-1]
        for m in modules
    }
    pairs = sorted(((v, m) for m in modules for v in given[m][: 2 * rank]), reverse=True)
    expected = Counter(m for _, m in pairs[: rank * len(modules)])
    values = [v for v, _ in pairs]
    if min(expected[m] for m in modules) < 1 or len(set(values)) < len(values):
        return
    limits = Limits({m: ModuleRange(1, 10, 7) for m in modules})
    choice = eva(evidence(a=given), limits, rank=rank)
    assert {m: int(row[0]) for m, row in choice.ranks.items()} == expected


def test_a_mean_rank_is_spent_as_uniform_spends_it():
    """5.4 on ten clients and two modules: 108 slots, whatever the spectra."""
    names = [f"c{at}" for at in range(10)]
    limits = Limits({m: ModuleRange(2, 12, 30) for m in RANGES}, Budget("mean_rank", 5.4))
    given = evidence(**{name: {"steep": STEEP, "flat": FLAT} for name in names})
    choice = eva(given, limits)
    totals = sum(choice.ranks.values())
    assert totals.sum() == 108
    assert totals.tolist() == sum(uniform(given, limits).ranks.values()).tolist()


def test_it_needs_spectra_with_and_without_options():
    assert ALLOCATORS.build("eva").needs == Needs(spectra=True)
    assert ALLOCATORS.build(Named("eva", {"rank": 3})).needs == Needs(spectra=True)
    assert ALLOCATORS.build(Named("uniform", {"rank": 3})).needs == Needs()


GOOD = evidence(a={"steep": STEEP, "flat": FLAT})


def test_impossible_options():
    with pytest.raises(SettingsError, match=r"a rank or ranks\.budget to share out"):
        eva(GOOD, Limits(RANGES))
    for rho in (0.5, float("nan")):
        with pytest.raises(SettingsError, match="rho: expected a finite number >= 1"):
            eva(GOOD, Limits(RANGES), rank=3, rho=rho)
    with pytest.raises(SettingsError, match="at least 1, got 0"):
        eva(GOOD, Limits(RANGES), rank=0)
    with pytest.raises(BudgetError, match=r"cost 3; .* range is 1 to 6"):
        eva(GOOD, Limits(RANGES, Budget("mean_rank", 2)), rank=3)
    high = {m: ModuleRange(3, 6, 10) for m in RANGES}
    with pytest.raises(BudgetError, match=r"cost 3; .* range is 3 to 6"):
        eva(GOOD, Limits(high, Budget("mean_rank", 2)), rank=1)


def test_missing_spectra_are_named():
    with pytest.raises(SettingsError, match="client 'a', module 'flat': expected explained"):
        eva(evidence(a={"steep": STEEP}), Limits(RANGES), rank=3)
    with pytest.raises(SettingsError, match="client 'a', module 'steep': expected explained"):
        eva(Evidence(["a"], {}), Limits(RANGES), rank=3)


@pytest.mark.parametrize("ratios", [[0.1, 0.2], [0.5, -0.1], [np.nan], [0.9, 0.8], [[0.5]]])
def test_ratios_that_cannot_be_are_named(ratios):
    with pytest.raises(DataError, match="client 'a', module 'flat': expected falling ratios"):
        eva(evidence(a={"steep": STEEP, "flat": ratios}), Limits(RANGES), rank=3)
