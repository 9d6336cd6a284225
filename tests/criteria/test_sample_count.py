"""Number of examples."""

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


def test_sample_count_is_the_number_of_examples():
    assert one("sample_count", view(examples=17)) == 17
