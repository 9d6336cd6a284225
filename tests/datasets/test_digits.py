import numpy as np
import pytest

from polyrank.datasets.digits import digits
from polyrank.errors import DataError


def test_digits_are_pixels_from_0_to_1():
    data = digits()
    assert data.train_x.shape == (1797, 8, 8)
    assert data.train_x.dtype == np.float32
    assert (data.train_x.min(), data.train_x.max()) == (0.0, 1.0)
    assert data.train_y.dtype == np.int64
    assert data.label_names == tuple("0123456789")


def test_the_first_digit_is_the_zero_of_the_scikit_learn_documentation():
    """load_digits().images[0][0] is printed there as 0, 0, 5, 13, 9, 1, 0, 0."""
    data = digits()
    assert (data.train_x[0, 0] * 16).tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert data.train_y[0] == 0


def test_an_argument_is_refused():
    with pytest.raises(DataError, match="'digits': expected no argument, got 'big'"):
        digits("big")
