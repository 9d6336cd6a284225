from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrank.datasets import Data
from polyrank.errors import DataError, EmptyClientError, SettingsError
from polyrank.partitioners import PARTITIONERS
from polyrank.partitioners.dirichlet import dirichlet
from polyrank.partitioners.iid import iid
from polyrank.partitioners.natural import natural
from polyrank.partitioners.splits import split


def data_of(labels, groups=None):
    labels = np.asarray(labels, dtype=np.int64)
    x = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1)
    names = tuple(str(c) for c in range(int(labels.max()) + 1))
    groups = None if groups is None else np.asarray(groups)
    return Data(x, labels, x[:0], labels[:0], names, "test", groups)


BALANCED = data_of(np.arange(600) % 6, np.array(["c", "a", "b"])[np.arange(600) // 6 % 3])


def bytes_of(splits):
    rows = [splits.public, splits.validation, splits.left_out]
    rows += [part for client in splits.clients for part in (client.train, client.test)]
    return [part.tobytes() for part in rows], [client.name for client in splits.clients]


@pytest.mark.parametrize("name", list(PARTITIONERS))
@settings(deadline=None, max_examples=15)
@given(
    clients=st.integers(3, 8),
    public=st.floats(0, 0.4),
    validation=st.floats(0, 0.4),
    client_test=st.floats(0, 0.9),
    seed=st.integers(0, 2**32),
)
def test_each_row_is_in_one_place(name, clients, public, validation, client_test, seed):
    splits = split(
        BALANCED,
        PARTITIONERS.build(name),
        clients=3 if name == "natural" else clients,
        public=public,
        validation=validation,
        client_test=client_test,
        seed=seed,
    )
    parts = [splits.public, splits.validation, splits.left_out]
    parts += [part for client in splits.clients for part in (client.train, client.test)]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(600))
    assert all((np.diff(part) > 0).all() for part in parts)
    assert all(len(client.train) for client in splits.clients)


@pytest.mark.parametrize("name", list(PARTITIONERS))
def test_the_seed_decides_everything(name):
    def made(seed):
        return bytes_of(split(BALANCED, PARTITIONERS.build(name), clients=3, public=0.1, seed=seed))

    assert made(5) == made(5)
    assert all(a != b for a, b in zip(made(5)[0], made(6)[0], strict=True) if a or b)


def test_the_seed_decides_the_partition_even_where_nothing_else_is_drawn():
    first, other = (split(BALANCED, iid, clients=2, validation=0, seed=seed) for seed in (0, 1))
    held = [set(made.clients[0].train) | set(made.clients[0].test) for made in (first, other)]
    assert held[0] != held[1]


def test_shares_are_of_all_rows_and_stratified():
    splits = split(BALANCED, iid, clients=4, public=0.2, validation=0.1, seed=0)
    assert np.bincount(BALANCED.train_y[splits.public]).tolist() == [20] * 6
    assert np.bincount(BALANCED.train_y[splits.validation]).tolist() == [10] * 6
    assert [len(client.train) for client in splits.clients] == [84] * 4  # 420 / 4 * 0.8
    assert [len(client.test) for client in splits.clients] == [21] * 4
    assert [client.name for client in splits.clients] == ["0", "1", "2", "3"]


def test_a_share_changes_only_what_comes_after_it():
    base, other = (split(BALANCED, iid, clients=4, client_test=t, seed=0) for t in (0.2, 0.5))
    assert np.array_equal(base.validation, other.validation)
    for a, b in zip(base.clients, other.clients, strict=True):
        assert set(a.train) | set(a.test) == set(b.train) | set(b.test)
        assert set(a.test) < set(b.test)


def test_skew_grows_as_concentration_falls():
    def labels_per_client(concentration):
        partition = partial(dirichlet, concentration=concentration)
        made = [split(BALANCED, partition, clients=5, seed=seed) for seed in range(10)]
        return np.mean(
            [len(np.unique(BALANCED.train_y[c.train])) for splits in made for c in splits.clients]
        )

    assert labels_per_client(0.1) + 1 < labels_per_client(1.0) <= labels_per_client(100.0) == 6


@pytest.mark.parametrize(("rows", "tests"), [(1, 0), (2, 1), (3, 1), (10, 2), (13, 3)])
def test_a_client_keeps_a_training_row_and_gets_a_test_row(rows, tests):
    """A fifth of 3 is 0.6, of 10 is 2, of 13 is 2.6."""
    splits = split(data_of([0] * rows), iid, clients=1, validation=0, seed=0)
    assert (len(splits.clients[0].train), len(splits.clients[0].test)) == (rows - tests, tests)


def test_even_a_large_test_share_leaves_a_training_row():
    splits = split(data_of([0] * 9), iid, clients=3, validation=0, client_test=0.99, seed=0)
    assert [(len(c.train), len(c.test)) for c in splits.clients] == [(1, 2)] * 3


def test_natural_clients_bear_their_names():
    splits = split(BALANCED, natural, clients=None, seed=0)
    assert [client.name for client in splits.clients] == ["a", "b", "c"]
    for client in splits.clients:
        assert set(BALANCED.train_groups[client.train]) == {client.name}


def test_clients_that_mix_groups_are_numbered():
    splits = split(BALANCED, iid, clients=3, seed=0)
    assert [client.name for client in splits.clients] == ["0", "1", "2"]


def test_dropped_groups_are_left_out():
    data = data_of([0] * 12, ["big"] * 6 + ["tiny"] + ["huge"] * 5)
    splits = split(data, partial(natural, min_examples=3), clients=None, validation=0, seed=0)
    assert [client.name for client in splits.clients] == ["big", "huge"]
    assert splits.left_out.tolist() == [6]


def test_small_groups_survive_validation():
    data = data_of(np.arange(40) % 2, ["one", "two"] + ["many"] * 38)
    for seed in range(20):
        splits = split(data, natural, clients=None, public=0.2, validation=0.4, seed=seed)
        assert [client.name for client in splits.clients] == ["many", "one", "two"]


def test_a_group_that_loses_all_its_rows_is_named():
    data = data_of([0] * 10, list("abcdefghij"))
    with pytest.raises(EmptyClientError, match=r"client '[a-j]' has no rows: .* validation rows"):
        split(data, natural, clients=None, validation=0.1, seed=0)


def test_an_empty_client_is_named():
    def uneven(rows, clients, rng):
        return [np.arange(len(rows)), np.empty(0, dtype=np.int64)]

    with pytest.raises(EmptyClientError, match="client '1' has no rows"):
        split(BALANCED, uneven, clients=2, seed=0)


@pytest.mark.parametrize("parts", [[[0, 1], [1, 2]], [[0, 0]], [[0], [10**6]], [[-1]], []], ids=str)
def test_a_partitioner_that_gives_wrong_rows_is_refused(parts):
    def wrong(rows, clients, rng):
        return [np.array(part) for part in parts]

    with pytest.raises(DataError, match="the partitioner"):
        split(BALANCED, wrong, clients=2, seed=0)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"public": -0.1}, r"public = -0\.1"),
        ({"validation": 1.0}, r"validation = 1\.0"),
        ({"client_test": float("nan")}, r"client_test = nan"),
        ({"public": 0.5, "validation": 0.5}, r"public = 0\.5 and validation = 0\.5: .* sum"),
    ],
)
def test_impossible_shares_are_named(shares, message):
    with pytest.raises(SettingsError, match=message):
        split(BALANCED, iid, clients=2, seed=0, **shares)


def test_every_draw_has_a_stream_of_its_own():
    """The same places would be drawn for public as for validation rows, and in every client."""
    data = data_of([0] * 40)
    public = split(data, iid, clients=2, public=0.2, validation=0, seed=0).public
    validation = split(data, iid, clients=2, public=0, validation=0.2, seed=0).validation
    assert len(public) == len(validation) == 8
    assert public.tolist() != validation.tolist()

    def halves(rows, clients, rng):
        return [np.arange(20), np.arange(20, 40)]

    first, other = split(data, halves, clients=2, validation=0, client_test=0.4, seed=0).clients
    assert first.test.tolist() != (other.test - 20).tolist()
