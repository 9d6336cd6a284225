"""Entropy of the labels."""

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


def test_label_entropy_by_hand():
    """Shares 1/2, 1/4, 1/4, 0: ln 2 / 2 + 2 (ln 4 / 4) = 1.5 ln 2."""
    assert one("label_entropy", view([2, 1, 1, 0])) == pytest.approx(1.5 * np.log(2))
