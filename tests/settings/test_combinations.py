"""Which methods go together, over all pairs of them."""

from dataclasses import replace

import pytest

import polyrank
from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.local_rule import LocalRule
from polyrank.allocators import ALLOCATORS, Needs, choose_slots
from polyrank.errors import SettingsError
from polyrank.settings.combinations import check_combination
from tests.small import small

SORTS = {name for name in AGGREGATORS if AGGREGATORS.build(name).rejoin is not None}
DRAWS = {name for name in AGGREGATORS if AGGREGATORS.build(name).local(1).absent == "fresh"}
CHANGES = {name for name in AGGREGATORS if AGGREGATORS.build(name).changes_base}
SVD_REFUSED = (
    dict.fromkeys(["ffa", "rolora", "fedsa"], "has clients train or send one factor alone")
    | dict.fromkeys(SORTS, "splits products anew into two factors")
    | dict.fromkeys(CHANGES, "adds products of two factors to the base")
)
OPTIONS = {"capacity": {"memory": 1e6}}


SENDS_CHANGES = {"anchored", "flexlora", "raflora", "flora", "florist"}


@Needs(slots=True)
def last_slots(evidence, limits):
    """Everybody has the last two slots."""
    last = {m: [r.r_max - 2, r.r_max - 1] for m, r in limits.modules.items()}
    return choose_slots(evidence, limits, dict.fromkeys(evidence.clients, last), "the last two")


BY_NUMBER = f"{__name__}:last_slots"


@pytest.mark.parametrize("aggregator", list(AGGREGATORS))
@pytest.mark.parametrize("allocator", [*ALLOCATORS, BY_NUMBER])
def test_slots_by_number_are_refused_where_a_number_does_not_stay_with_its_slot(
    allocator, aggregator
):
    chosen = {"kind": allocator, **OPTIONS.get(allocator, {})}
    settings = small(allocator=chosen, aggregator=aggregator)
    refused = None
    by_number = ALLOCATORS.build(settings.allocator).needs.slots
    if by_number and aggregator in SORTS | DRAWS:
        how = "sorts the slots anew" if aggregator in SORTS else "draws new slots"
        refused = f"{allocator}' chooses slots by their numbers, and .*{aggregator}' {how}"
    if allocator == "hetlora" and aggregator == "fedavg":
        refused = "'fedavg' needs the same rank for all clients, and with allocator 'hetlora'"
    if allocator == "need" and aggregator not in SENDS_CHANGES:
        refused = f"'need' has clients send changes of the product, and aggregator '{aggregator}'"
    if refused is None:
        check_combination(settings)
    else:
        with pytest.raises(SettingsError, match=refused):
            check_combination(settings)


def test_these_lose_the_numbers_of_their_slots():
    assert {"anchored", "flexlora", "raflora"} <= SORTS
    assert {"flora", "florist"} <= DRAWS
    assert not (SORTS | DRAWS) & {"rbla", "zero_padding", "fedex", "hetlora", "replication"}


@pytest.mark.parametrize("aggregator", list(AGGREGATORS))
@pytest.mark.parametrize(
    "allocator", [name for name in ALLOCATORS if name not in ("fedara", "need")]
)
def test_a_third_factor_is_refused_where_it_would_not_be_averaged(allocator, aggregator):
    chosen = {"kind": allocator, **OPTIONS.get(allocator, {})}
    adapter = {"parametrisation": "svd"}
    settings = small(allocator=chosen, aggregator=aggregator, adapter=adapter)
    if aggregator in SVD_REFUSED:
        expected = f"'svd': aggregator {aggregator!r} {SVD_REFUSED[aggregator]}"
        with pytest.raises(SettingsError, match=expected):
            check_combination(settings)
    elif (allocator, aggregator) != ("hetlora", "fedavg"):
        check_combination(settings)


def test_these_take_a_third_factor():
    taken = {"rbla", "zero_padding", "replication", "hetlora", "fedavg"}
    assert set(AGGREGATORS) - set(SVD_REFUSED) == taken


def test_a_run_refuses_before_it_reads_its_data(tmp_path):
    data = tmp_path / "none.npz"
    data.touch()
    settings = small(data=f"npz:{data}", allocator=BY_NUMBER, aggregator="flexlora")
    with pytest.raises(SettingsError, match="chooses slots by their numbers"):
        polyrank.run(settings, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("allocator", list(ALLOCATORS))
def test_ranks_that_change_while_clients_train_need_one_scaling(allocator):
    chosen = {"kind": allocator, **OPTIONS.get(allocator, {})}
    scaling = {"alpha": 2.0, "per": "rank"}
    settings = small(allocator=chosen, aggregator="flexlora", adapter={"scaling": scaling})
    if allocator in ("fedara", "hetlora", "need"):
        with pytest.raises(SettingsError, match=r"come and go|sorts the slots anew"):
            check_combination(settings)
    else:
        check_combination(settings)
    with_rbla = {"aggregator": "rbla", "adapter": {"modules": {"fc1": {"scaling": scaling}}}}
    if allocator in ("fedara", "hetlora"):
        with pytest.raises(SettingsError, match=f"{allocator}' slots come and go .* a number"):
            check_combination(small(allocator=chosen, **with_rbla))


def slot_wise_in_full_view():
    """All slots are sent, of which a client trains its own."""
    return replace(AGGREGATORS.build("rbla"), local=lambda round: LocalRule(view="all"))


def test_slots_that_are_used_and_not_trained_need_one_scaling():
    settings = small(
        aggregator=f"{__name__}:slot_wise_in_full_view",
        adapter={"scaling": {"per": "sqrt_rank"}},
    )
    with pytest.raises(SettingsError, match="averages slot by slot"):
        check_combination(settings)
