"""What a criterion may see."""

import numpy as np
import pytest

from polyrank.criteria import (
    ClientView,
)
from polyrank.errors import DataError, ShapeError


def view(label_counts=(1.0, 1.0), examples=2.0, epochs=None, each=None):
    arrays = [None if given is None else np.array(given, float) for given in (epochs, each)]
    return ClientView(np.array(label_counts, float), examples, *arrays)


@pytest.mark.parametrize(
    ("field", "value"), [("examples", -1.0), ("label_counts", [1, np.nan]), ("epochs", [np.inf])]
)
def test_view_refuses_impossible_numbers(field, value):
    with pytest.raises(DataError, match="finite numbers >= 0"):
        view(**{field: value})


def test_view_refuses_two_dimensions():
    with pytest.raises(ShapeError, match="label_counts: expected one dimension"):
        view([[1, 2]])
