import numpy as np
import pytest

from polyrank.errors import DataError
from polyrank.partitioners.dirichlet import dirichlet
from polyrank.partitioners.rows import Rows

ROWS = Rows(np.repeat(np.arange(10), 200))


def mean_label_entropy(parts, labels):
    shares = [np.bincount(labels[part]) / len(part) for part in parts]
    return np.mean([-(p[p > 0] * np.log(p[p > 0])).sum() for p in shares])


def test_label_entropy_rises_with_concentration():
    means = [
        np.mean(
            [
                mean_label_entropy(
                    dirichlet(ROWS, 8, np.random.default_rng(seed), concentration=concentration),
                    ROWS.labels,
                )
                for seed in range(5)
            ]
        )
        for concentration in (0.1, 1.0, 100.0)
    ]
    assert means[0] < means[1] - 0.3 < means[2] - 0.6
    assert means[2] == pytest.approx(np.log(10), abs=0.02)  # all labels alike


def test_shares_have_the_variance_of_a_dirichlet():
    """Var p_1 of Dirichlet(a, ..., a) over N is (N - 1) / (N^2 (N a + 1)): 3/48 = 0.0625."""
    rows = Rows(np.repeat(np.arange(400), 500))
    parts = dirichlet(rows, 4, np.random.default_rng(0), concentration=0.5)
    shares = np.stack([np.bincount(rows.labels[part], minlength=400) for part in parts]) / 500
    assert shares.mean(axis=1) == pytest.approx(0.25, abs=0.05)
    assert shares.var() == pytest.approx(0.0625, rel=0.1)


def test_it_draws_again_until_all_clients_have_enough():
    rows = Rows(np.repeat(np.arange(3), 40))
    for seed in range(20):
        parts = dirichlet(rows, 4, np.random.default_rng(seed), concentration=0.3, min_examples=15)
        assert min(len(part) for part in parts) >= 15


def test_hopeless_skew_is_an_error_that_says_what_to_change():
    rows = Rows(np.repeat(np.arange(2), 50))
    with pytest.raises(DataError, match=r"1000 draws .* raise concentration, or ask for fewer"):
        dirichlet(rows, 5, np.random.default_rng(0), concentration=1e-3)


def test_no_client_is_favoured_by_rounding():
    """400 labels of 5 rows: rounding down would take 200 of its 500 rows from the first client."""
    rows = Rows(np.repeat(np.arange(400), 5))
    draws = [dirichlet(rows, 4, np.random.default_rng(s), concentration=1.0) for s in range(10)]
    sizes = np.mean([[len(part) for part in parts] for parts in draws], axis=0)
    assert sizes == pytest.approx(500, abs=40)
