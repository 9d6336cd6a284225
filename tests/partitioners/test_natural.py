import numpy as np
import pytest

from polyrank.errors import DataError, SettingsError
from polyrank.partitioners.natural import natural
from polyrank.partitioners.rows import Rows

ROWS = Rows(np.zeros(6, dtype=np.int64), np.array(["b", "a", "b", "c", "b", "a"]))
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("clients", [None, 3])
def test_a_client_is_a_group_in_the_order_of_names(clients):
    parts = natural(ROWS, clients, RNG)
    assert [part.tolist() for part in parts] == [[1, 5], [0, 2, 4], [3]]


def test_small_groups_are_left_out():
    parts = natural(ROWS, None, RNG, min_examples=2)
    assert [part.tolist() for part in parts] == [[1, 5], [0, 2, 4]]


def test_another_number_of_clients_is_refused():
    with pytest.raises(SettingsError, match=r"clients = 4, and the data has 3 groups"):
        natural(ROWS, 4, RNG)


def test_data_without_groups_is_refused():
    with pytest.raises(DataError, match="no groups"):
        natural(Rows(ROWS.labels), None, RNG)


def test_leaving_all_groups_out_is_refused():
    with pytest.raises(DataError, match="none of 3 groups has 9 rows"):
        natural(ROWS, None, RNG, min_examples=9)
