"""What every entry of the table keeps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrank.errors import DataError, SettingsError
from polyrank.partitioners import PARTITIONERS, Rows
from polyrank.registry import Named

SKEWED = [name for name in PARTITIONERS if name != "natural"]


@st.composite
def row_sets(draw):
    """Two to seven labels of 30 to 60 rows, numbered with a gap, with three groups."""
    sizes = draw(st.lists(st.integers(30, 60), min_size=2, max_size=7))
    labels = np.repeat(np.arange(len(sizes)) * 2, sizes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    labels = rng.permutation(labels)
    return Rows(labels, np.array(["c", "a", "b"])[np.arange(len(labels)) % 3])


def partitioned(name, rows, clients, seed):
    return PARTITIONERS.build(name)(rows, clients, np.random.default_rng(seed))


@pytest.mark.parametrize("name", list(PARTITIONERS))
@settings(deadline=None, max_examples=25)
@given(rows=row_sets(), clients=st.integers(4, 9), seed=st.integers(0, 2**32))
def test_every_row_has_one_owner_and_every_client_has_rows(name, rows, clients, seed):
    parts = partitioned(name, rows, 3 if name == "natural" else clients, seed)
    assert len(parts) == (3 if name == "natural" else clients)
    assert min(len(part) for part in parts) >= 1
    assert all(np.array_equal(part, np.sort(part)) for part in parts)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(rows)))


@pytest.mark.parametrize("name", list(PARTITIONERS))
@settings(deadline=None, max_examples=10)
@given(rows=row_sets(), seed=st.integers(0, 2**32))
def test_same_seed_gives_the_same_rows(name, rows, seed):
    clients = 3 if name == "natural" else 5
    first, again = (partitioned(name, rows, clients, seed) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("name", SKEWED)
def test_another_seed_gives_other_rows(name):
    rows = Rows(np.repeat(np.arange(4), 50))
    first, other = (partitioned(name, rows, 5, seed) for seed in (0, 1))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", SKEWED)
@pytest.mark.parametrize("clients", [None, 0, -1])
def test_a_number_of_clients_is_needed(name, clients):
    with pytest.raises(SettingsError, match=f"'{name}': clients = {clients}"):
        partitioned(name, Rows(np.zeros(9, dtype=np.int64)), clients, 0)


@pytest.mark.parametrize("name", SKEWED)
def test_more_clients_than_rows_are_refused(name):
    with pytest.raises(DataError, match="3 rows are too few for 4 clients"):
        partitioned(name, Rows(np.array([0, 0, 1])), 4, 0)


@pytest.mark.parametrize("name", SKEWED)
def test_one_client_gets_everything(name):
    rows = Rows(np.array([0, 1, 0, 1, 0]))
    (part,) = partitioned(name, rows, 1, 0)
    assert part.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("dirichlet", "concentration", 0.0),
        ("dirichlet", "concentration", float("nan")),
        ("dirichlet", "min_examples", 0),
        ("double_imbalance", "concentration", -1.0),
        ("double_imbalance", "size_concentration", float("inf")),
        ("double_imbalance", "min_examples", 0),
        ("pathological", "labels_per_client", 0),
        ("pathological", "labels_per_client", 4),
        ("natural", "min_examples", 0),
    ],
)
def test_an_impossible_option_is_named_with_its_value(name, option, value):
    rows = Rows(np.repeat(np.arange(3), 20), np.repeat(np.array(["a", "b", "c"]), 20))
    partition = PARTITIONERS.build(Named(name, {option: value}))
    with pytest.raises(SettingsError, match=f"'{name}': {option} = {value}"):
        partition(rows, 3, np.random.default_rng(0))
