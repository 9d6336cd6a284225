import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrank.errors import SettingsError
from polyrank.partitioners.pathological import pathological
from polyrank.partitioners.rows import Rows


@settings(deadline=None, max_examples=50)
@given(
    labels=st.integers(1, 9),
    clients=st.integers(1, 20),
    share=st.integers(1, 9),
    seed=st.integers(0, 2**32),
)
def test_each_client_has_the_labels_asked_for(labels, clients, share, seed):
    if share > labels or clients * share < labels:
        return
    rows = Rows(np.repeat(np.arange(labels), 40))
    parts = pathological(rows, clients, np.random.default_rng(seed), labels_per_client=share)
    owned = [set(rows.labels[part].tolist()) for part in parts]
    assert {len(own) for own in owned} == {share}
    owners = [sum(label in own for own in owned) for label in range(labels)]
    assert min(owners) >= 1
    assert max(owners) - min(owners) <= 1


def test_a_label_is_split_evenly_over_its_owners():
    """4 labels of 30 rows, 6 clients of 2 labels: 3 owners a label, 10 rows each."""
    rows = Rows(np.repeat(np.arange(4), 30))
    for part in pathological(rows, 6, np.random.default_rng(0)):
        counts = np.bincount(rows.labels[part])
        assert counts[counts > 0].tolist() == [10, 10]


def test_labels_without_owner_are_refused():
    rows = Rows(np.repeat(np.arange(10), 5))
    with pytest.raises(SettingsError, match=r"4 clients .* own at most 8 labels, .* has 10"):
        pathological(rows, 4, np.random.default_rng(0))
