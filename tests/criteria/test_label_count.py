"""Labels that are present."""

import numpy as np

from polyrank.criteria import (
    ClientView,
    measure,
)


def view(label_counts=(1.0, 1.0), examples=2.0, epochs=None, each=None):
    arrays = [None if given is None else np.array(given, float) for given in (epochs, each)]
    return ClientView(np.array(label_counts, float), examples, *arrays)


def one(name, of):
    return measure([name], of)[name]


def test_label_count_takes_half_an_example_as_one():
    assert one("label_count", view([2, 0.5, 0.4, 0])) == 2
