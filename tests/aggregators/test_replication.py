import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrank.aggregators.replication import replicated_mean
from polyrank.lora.factors import Factors, prefix

D_IN, D_OUT, SLOTS = 4, 7, 6


def ones(rank: int, value: float) -> Factors:
    return Factors(torch.full((rank, 2), value), torch.full((3, rank), value), prefix(rank))


def draw(slots: torch.Tensor, seed: int) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(len(slots), D_IN, generator=generator, dtype=torch.float64)
    b = torch.randn(D_OUT, len(slots), generator=generator, dtype=torch.float64)
    return Factors(a, b, slots)


def filled_then_averaged(updates: list[tuple[Factors, float]], old: np.ndarray) -> np.ndarray:
    """Directly, rows [a_j, b_j]: fill every client's missing slots, then average."""
    rows = []
    for f, _ in updates:
        row = np.full((SLOTS, D_IN + D_OUT), np.nan)
        row[f.slots] = np.hstack([f.a.numpy(), f.b.numpy().T])
        rows.append(row)
    weights = np.array([w for _, w in updates])
    highest = max(f.rank for f, _ in updates)
    result = old.copy()
    for j in range(SLOTS):
        owns = np.array([j in f.slots for f, _ in updates])
        top = owns & np.array([f.rank == highest for f, _ in updates])
        values = np.array([row[j] for row in rows])
        if top.any():
            copy = np.average(values[top], axis=0, weights=weights[top])
            values[~owns] = copy
            result[j] = np.average(values, axis=0, weights=weights)
        elif owns.any():
            result[j] = np.average(values[owns], axis=0, weights=weights[owns])
    return result


slot_sets = st.integers(1, SLOTS).map(range) | st.sets(st.integers(0, SLOTS - 1), min_size=1)


@given(st.lists(st.tuples(slot_sets, st.floats(0.5, 100)), min_size=1, max_size=7))
@settings(max_examples=50, deadline=None)
def test_one_pass_is_filling_every_client_and_averaging(drawn):
    updates = [
        (draw(torch.tensor(sorted(slots)), k), weight) for k, (slots, weight) in enumerate(drawn)
    ]
    previous = draw(prefix(SLOTS), 99)
    result = replicated_mean(updates, previous)
    old = np.hstack([previous.a.numpy(), previous.b.numpy().T])
    found = np.hstack([result.a.numpy(), result.b.numpy().T])
    np.testing.assert_allclose(found, filled_then_averaged(updates, old), atol=1e-12)


def test_missing_slots_are_copies_of_the_highest_rank_clients():
    """Weights 2, 1, 3, ranks 1, 2, 2: slot 0 (2*1 + 1*4 + 3*8)/6 = 5; slot 1 is the copy, 7."""
    updates = [(ones(1, 1.0), 2.0), (ones(2, 4.0), 1.0), (ones(2, 8.0), 3.0)]
    result = replicated_mean(updates, ones(3, 9.0))
    assert result.a[:, 0].tolist() == [5.0, 7.0, 9.0]
    assert result.b[0].tolist() == [5.0, 7.0, 9.0]


def test_a_rank_between_is_averaged_with_the_copies_of_the_highest():
    """Equal weights, ranks 1, 2, 3: slot 1 is (copy 8 + 4 + 8)/3; slot 2 is the copy."""
    updates = [(ones(1, 1.0), 1.0), (ones(2, 4.0), 1.0), (ones(3, 8.0), 1.0)]
    result = replicated_mean(updates, ones(3, 0.0))
    torch.testing.assert_close(result.a[:, 0], torch.tensor([13 / 3, 20 / 3, 8.0]))
