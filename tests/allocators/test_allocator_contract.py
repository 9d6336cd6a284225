"""What every entry of the table keeps."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrank.allocators import (
    ALLOCATORS,
    Budget,
    Evidence,
    Limits,
    ModuleRange,
    reasons,
)
from polyrank.errors import BudgetError, SettingsError
from polyrank.registry import Named
from tests.allocators.allocator_problems import (
    allowed,
    evidences,
    largest,
    limits_for,
    permuted,
    spectra_for,
    spent,
)

ENTRIES = list(ALLOCATORS)
SPENDERS = ["autorank", "uniform", "random", "hetlora"]  # but for less than a slot
FIXED = {"ratio", "capacity"}  # by hand or by hardware: they spend what they say, or refuse
SENT = {"need"}  # its ranks are the server's slots; a budget is of what is sent
CONTROLS = [name for name in ENTRIES if name not in FIXED | SENT]
BOUND = [name for name in ENTRIES if name not in SENT]
OPTIONS = {"capacity": {"memory": 1e9}}
every = pytest.mark.parametrize("name", ENTRIES)
every_control = pytest.mark.parametrize("name", CONTROLS)
every_spender = pytest.mark.parametrize("name", SPENDERS)


def choose(name, evidence, limits):
    options = OPTIONS.get(name, {})
    if name == "eva":
        evidence = replace(evidence, spectra=spectra_for(evidence, limits))
        options = {} if limits.budget else {"rank": 4}
    choice, _ = ALLOCATORS.build(Named(name, options)).step(None, evidence, limits)
    return choice


@every
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_every_rank_is_allowed(name, data):
    evidence = data.draw(evidences())
    clients = len(evidence.clients)
    budget = False if name in FIXED else None
    limits = data.draw(limits_for(clients, budget))
    choice = choose(name, evidence, limits)
    assert list(choice.ranks) == list(limits.modules)
    for module, ranks in choice.ranks.items():
        least = 1 if name == "ratio" else limits.modules[module].r_min
        most = largest(limits, clients)[module]
        assert ranks.dtype == np.int64
        assert (ranks <= most).all()
        assert (ranks >= np.minimum(least, most)).all()
    assert len(list(reasons(choice))) == clients


@every_spender
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_budget_is_never_exceeded_and_less_than_a_slot_is_left(name, data):
    evidence = data.draw(evidences())
    clients = len(evidence.clients)
    limits = data.draw(limits_for(clients, budget=True))
    choice = choose(name, evidence, limits)
    left = allowed(limits, clients) - spent(choice.ranks, limits)
    assert left >= -1e-9
    for module, most in largest(limits, clients).items():
        if (choice.ranks[module] < most).any():
            nothing = {other: np.array([0]) for other in limits.modules}
            one_slot = spent(nothing | {module: np.array([1])}, limits)
            assert left < one_slot + 1e-9


@every_spender
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_better_score_never_gets_a_smaller_rank(name, data):
    evidence = data.draw(evidences())
    limits = data.draw(limits_for(len(evidence.clients)))
    choice = choose(name, evidence, limits)
    if choice.scores is None:
        return
    caps = np.zeros(len(evidence.clients)) if limits.caps is None else limits.caps
    for ranks in choice.ranks.values():
        for i in range(len(ranks)):
            worse = (choice.scores < choice.scores[i]) & (caps == caps[i])
            assert (ranks[worse] <= ranks[i]).all()


@every_control
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_budget_is_never_exceeded(name, data):
    evidence = data.draw(evidences())
    limits = data.draw(limits_for(len(evidence.clients), budget=True))
    ranks = choose(name, evidence, limits).ranks
    assert spent(ranks, limits) <= allowed(limits, len(evidence.clients)) + 1e-9


@every_control
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_order_of_clients_does_not_matter(name, data):
    evidence = data.draw(evidences())
    limits = data.draw(limits_for(len(evidence.clients)))
    order = np.array(data.draw(st.permutations(range(len(evidence.clients)))))
    one, other = choose(name, evidence, limits), choose(name, *permuted(evidence, limits, order))
    for module in limits.modules:
        assert one.ranks[module][order].tolist() == other.ranks[module].tolist()


@every
@pytest.mark.parametrize("clients", [["a"], ["a", "b", "c"]])
def test_one_client_and_clients_all_alike_are_defined(name, clients):
    evidence = Evidence(clients, {"x": np.full(len(clients), 3.0), "y": np.zeros(len(clients))})
    choice = choose(name, evidence, Limits({"m": ModuleRange(2, 8, 10)}))
    assert (choice.ranks["m"] >= 1).all()
    if choice.scores is not None:
        assert np.isfinite(choice.scores).all()


@every
def test_same_seed_same_ranks_in_every_round(name):
    criteria = {"x": np.arange(6.0)}
    limits = Limits({"m": ModuleRange(1, 9, 10)})
    first, later = (
        choose(name, Evidence(list("abcdef"), criteria, round=at, seed=1), limits).ranks["m"]
        for at in (0, 7)
    )
    assert first.tolist() == later.tolist()


@pytest.mark.parametrize("name", BOUND)
def test_budget_below_the_least_ranks_names_the_feasible_range(name):
    limits = Limits({"m": ModuleRange(2, 8, 10)}, Budget("mean_rank", 0.5))
    with pytest.raises(BudgetError, match="feasible range is 2 to 8"):
        choose(name, Evidence(["a", "b"], {"x": np.array([1.0, 2.0])}), limits)


@every
def test_cap_below_one_names_the_client(name):
    limits = Limits({"m": ModuleRange(2, 8, 10)}, caps=np.array([4, 0]))
    with pytest.raises(SettingsError, match="client 'b': expected a largest rank"):
        choose(name, Evidence(["a", "b"], {"x": np.array([1.0, 2.0])}), limits)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_controls_spend_what_autorank_spends(data):
    """Equal slots: each leaves less than one, so the three totals are the same number."""
    evidence = data.draw(evidences())
    amount = data.draw(st.floats(2, 12))
    limits = Limits({"m": ModuleRange(2, 12, 10)}, Budget("mean_rank", amount))
    totals = {
        choose(name, evidence, limits).ranks["m"].sum() for name in [*SPENDERS, "eva", "level"]
    }
    assert len(totals) == 1
