"""Sums over clients scale a table as its pooled rows would."""

import math

import numpy as np
import pytest
import torch

from polyrank.errors import DataError
from polyrank.inputs.arrays import Examples
from polyrank.inputs.column_sums import ColumnSums, column_sums

ROWS = np.random.default_rng(0).normal([5.0, -3e4, 1e-3], [2.0, 10.0, 1e-5], (1200, 3))
ROWS[3:40, 1] = np.nan
EXAMPLES = Examples.from_arrays(np.insert(ROWS, 0, 1.0, axis=1), np.zeros(1200, np.int64))
COLUMNS = torch.tensor([1, 2, 3])


def test_sums_over_clients_give_the_mean_and_deviation_of_the_pooled_rows():
    parts = torch.arange(1200).split([7, 600, 593])
    total, *others = [column_sums(EXAMPLES, part, COLUMNS) for part in parts]
    for other in others:
        total = total + ColumnSums.from_tensors(other.tensors)
    mean, deviation = total.mean_and_deviation()
    pooled = ROWS.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(mean, np.nanmean(pooled, axis=0), rtol=1e-12)
    np.testing.assert_allclose(deviation, np.nanstd(pooled, axis=0), rtol=1e-6)


def test_a_number_that_nobody_has_and_one_that_never_changes_are_left_in_size():
    x = np.array([[math.nan, 0.1], [math.nan, 0.1], [math.nan, 0.1]])
    examples = Examples.from_arrays(x, np.zeros(3, np.int64))
    sums = column_sums(examples, torch.arange(3), torch.tensor([0, 1]))
    mean, deviation = sums.mean_and_deviation()
    assert mean.tolist() == [0.0, pytest.approx(0.1)]
    assert deviation.tolist() == [1.0, 1.0]


def test_what_is_no_table_is_answered():
    images = Examples.from_arrays(np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.int64))
    with pytest.raises(DataError, match="expected the rows of a table"):
        column_sums(images, torch.arange(2), torch.tensor([0]))
    with pytest.raises(DataError, match="expected rows to sum up, got none"):
        column_sums(EXAMPLES, torch.arange(0), COLUMNS)
