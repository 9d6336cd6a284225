import numpy as np

from polyrank.partitioners.rows import Rows
from polyrank.partitioners.staircase import staircase

# Training images per digit of MNIST, http://yann.lecun.com/exdb/mnist/ (counted in the files).
MNIST = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def counts_of(sizes, clients):
    rows = Rows(np.repeat(np.arange(len(sizes)), sizes))
    parts = staircase(rows, clients, np.random.default_rng(0))
    return np.stack([np.bincount(rows.labels[part], minlength=len(sizes)) for part in parts])


def test_sizes_of_the_paper():
    """RBLA: 600 to 17,580 of 60,000; exactly 6,000 a label gives 600 to 17,573."""
    even = counts_of([6000] * 10, 10).sum(axis=1)
    assert (even[0], even[9]) == (600, 17573)
    real = counts_of(MNIST, 10).sum(axis=1)
    assert abs(real[0] - 600) < 20
    assert abs(real[9] - 17580) < 200
    assert real.sum() == 60000


def test_client_i_holds_labels_0_to_i():
    assert np.array_equal(counts_of(MNIST, 10) > 0, np.tri(10, dtype=bool))


def test_by_hand():
    """Labels of 6: over clients 0..2 two each, over 1..2 three each, over 2 all six."""
    assert counts_of([6, 6, 6], 3).tolist() == [[2, 0, 0], [2, 3, 0], [2, 3, 6]]


def test_fewer_clients_than_labels_take_several_labels_a_step():
    """First owners floor(c 2 / 4): 0, 0, 1, 1."""
    assert counts_of([4] * 4, 2).tolist() == [[2, 2, 0, 0], [2, 2, 4, 4]]


def test_more_clients_than_labels_have_steps_without_a_new_label():
    """First owners floor(c 4 / 2): 0, 2."""
    assert counts_of([8, 8], 4).tolist() == [[2, 0], [2, 0], [2, 4], [2, 4]]
