"""Gini-Simpson index."""

import numpy as np
import pytest

from polyrank.criteria import (
    ClientView,
    measure,
)


def view(label_counts=(1.0, 1.0), examples=2.0, epochs=None, each=None):
    arrays = [None if given is None else np.array(given, float) for given in (epochs, each)]
    return ClientView(np.array(label_counts, float), examples, *arrays)


def one(name, of):
    return measure([name], of)[name]


def test_gini_simpson_by_hand():
    """Shares 1/2, 1/4, 1/4: 1 - (1/4 + 1/16 + 1/16) = 5/8."""
    assert one("gini_simpson", view([2, 1, 1, 0])) == pytest.approx(5 / 8)
