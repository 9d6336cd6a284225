import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from polyrank.allocators import (
    ALLOCATORS,
    Budget,
    Evidence,
    Limits,
    ModuleRange,
    reasons,
)
from polyrank.allocators.capacity import capacity
from polyrank.errors import BudgetError, SettingsError, UnknownNameError
from polyrank.registry import Named
from tests.allocators.allocator_problems import ids, largest, limits_for

CLIENTS = Evidence(["big", "mid", "small"], {})
ONE = Limits({"m": ModuleRange(2, 10, 30)})
TWO = Limits({"wide": ModuleRange(2, 16, 100), "narrow": ModuleRange(1, 4, 10)})


def ranks(choice):
    return {module: row.tolist() for module, row in choice.ranks.items()}


def test_memory_by_hand():
    """One slot is 30 parameters of 16 bytes, 480 bytes: 2399 bytes hold 4 slots, 2400 hold 5."""
    memory = {"mid": 2400, "small": 2399}
    assert ranks(capacity(CLIENTS, ONE, memory=memory)) == {"m": [10, 5, 4]}


def test_bandwidth_by_hand():
    """Rank 5 sends 5 * 30 * 4 = 600 bytes down and as many up: 1200 in 4 s is 300 a second."""
    speed = {"mid": 300, "small": 299.9}
    assert ranks(capacity(CLIENTS, ONE, bandwidth=speed, seconds=4)) == {"m": [10, 5, 4]}


def test_the_tighter_of_the_two_holds():
    choice = capacity(CLIENTS, ONE, memory={"big": 1440}, bandwidth=240, seconds=4)
    assert ranks(choice) == {"m": [3, 4, 4]}
    assert set(reasons(choice)) == {"the largest rank that memory and bandwidth allow"}


def test_modules_share_one_level_clipped_to_their_ranges():
    """Level 6 costs 6 * 100 + 4 * 10 = 640 parameters, level 7 740; level 1 is 2 and 1."""
    choice = capacity(
        CLIENTS, TWO, memory={"big": 739, "mid": 640, "small": 210}, bytes_per_parameter=1
    )
    assert ranks(choice) == {"wide": [6, 6, 2], "narrow": [4, 4, 1]}
    assert next(reasons(choice)) == "the largest rank that memory allows"


def test_decimals_are_those_the_user_wrote():
    """0.58 s at 400 bytes a second is 29 parameters; in floating point it is a little less."""
    limits = Limits({"m": ModuleRange(1, 10, 29)})
    assert ranks(capacity(CLIENTS, limits, bandwidth=400, seconds=0.58)) == {"m": [1, 1, 1]}


def test_a_cap_wins_over_memory_and_over_the_least_rank():
    limits = Limits(ONE.modules, caps=np.array([4, 10, 1]))
    choice = capacity(CLIENTS, limits, memory={"mid": 2400, "small": 480})
    assert ranks(choice) == {"m": [4, 5, 1]}
    assert choice.capped.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("options", "needed", "got"),
    [
        ({"memory": {"mid": 959}}, "960 bytes of memory", "959"),
        ({"bandwidth": {"mid": 100.5}, "seconds": 4}, "120 bytes per second of bandw", "100.5"),
    ],
)
def test_a_client_too_small_for_the_least_ranks_is_named(options, needed, got):
    """Rank 2 is 60 parameters: 960 bytes to train, 480 bytes to send in 4 seconds."""
    with pytest.raises(BudgetError, match=rf"client 'mid': .* need {needed}.*, got {got};"):
        capacity(CLIENTS, ONE, **options)


def test_over_budget():
    limits = Limits(ONE.modules, Budget("mean_rank", 4))
    with pytest.raises(BudgetError, match=r"devices can take, which cost 5; .* range is 2 to 10"):
        capacity(CLIENTS, limits, memory=2400)


def test_unknown_client_is_named_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"memory: .* 'smal' \(did you mean 'small'\?\)"):
        capacity(CLIENTS, ONE, memory={"smal": 1e6})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "memory or bandwidth, got neither"),
        ({"bandwidth": 3.0}, "bandwidth and seconds together"),
        ({"memory": 1e6, "seconds": 3.0}, "bandwidth and seconds together"),
        ({"memory": 0}, "memory of client 'big': expected a finite number above 0, got 0"),
        ({"memory": {"mid": float("nan")}}, "memory of client 'mid': expected a finite number"),
        ({"memory": 1e6, "bytes_per_parameter": -1}, "bytes_per_parameter: expected a finite"),
        ({"bandwidth": 1e6, "seconds": float("inf")}, "seconds: expected a finite"),
    ],
)
def test_impossible_options(options, said):
    with pytest.raises(SettingsError, match=said):
        capacity(CLIENTS, ONE, **options)


def test_options_from_a_settings_file():
    made = ALLOCATORS.build(Named("capacity", {"memory": {"mid": 2400, "small": 960.0}}))
    choice, _ = made.step(None, CLIENTS, ONE)
    assert ranks(choice) == {"m": [10, 5, 2]}
    with pytest.raises(SettingsError, match="memory"):
        ALLOCATORS.build(Named("capacity", {"memory": "lots"}))


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_the_level_fits_and_the_next_one_does_not(data):
    """Level by level, from 1 up, as one would by hand."""
    clients = data.draw(ids)
    limits = data.draw(limits_for(len(clients), budget=False))
    amount = st.integers(1, 40_000)
    memory = {c: data.draw(amount) for c in clients if data.draw(st.booleans())}
    assume(memory)
    caps = [10**9] * len(clients) if limits.caps is None else limits.caps.tolist()

    def at(level, cap):
        return [max(min(m.r_min, cap), min(level, m.r_max, cap)) for m in limits.modules.values()]

    def cost(level, cap):
        slots = [m.slot_parameters for m in limits.modules.values()]
        return sum(r * s * 16 for r, s in zip(at(level, cap), slots, strict=True))

    least = [cost(1, cap) <= memory.get(c, 1e18) for c, cap in zip(clients, caps, strict=True)]
    if not all(least):
        with pytest.raises(BudgetError):
            capacity(Evidence(clients, {}), limits, memory=memory)
        return
    choice = capacity(Evidence(clients, {}), limits, memory=memory)
    assert (
        np.stack([*choice.ranks.values()]) <= np.stack([*largest(limits, len(caps)).values()])
    ).all()
    for k, (client, cap) in enumerate(zip(clients, caps, strict=True)):
        level = max(v for v in range(1, 17) if cost(v, cap) <= memory.get(client, 1e18))
        assert [int(row[k]) for row in choice.ranks.values()] == at(level, cap)
