import numpy as np
import pytest
import torch

from polyrank.errors import DataError
from polyrank.inputs.arrays import Examples

LABELS = np.arange(4)


@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 5, 6, 3), (4, 7)], ids=str)
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_batches_are_normalised_by_the_formula(shape, kind):
    inputs = np.random.default_rng(0).integers(0, 256, shape).astype(kind)
    given = Examples.from_arrays(inputs, LABELS)
    rows = torch.tensor([2, 0])
    plain, _ = given.batch(rows)
    found, labels = given.normalised([0.1307], [0.3081]).share_memory().batch(rows)
    torch.testing.assert_close(found, (plain - 0.1307) / 0.3081)
    assert labels.tolist() == [2, 0]


def test_every_channel_has_its_own_numbers():
    inputs = np.random.default_rng(0).random((4, 5, 6, 3), dtype=np.float32)
    examples = Examples.from_arrays(inputs, LABELS).normalised([0.5, 0.4, 0.3], [1.0, 0.5, 0.25])
    found, _ = examples.batch(torch.arange(4))
    expected = (inputs - [0.5, 0.4, 0.3]) / [1.0, 0.5, 0.25]
    torch.testing.assert_close(found, torch.from_numpy(expected.transpose(0, 3, 1, 2)).float())


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((4, 5, 6, 3), r"mean: expected one number, or one for each of 3 channels, got 2"),
        ((4, 5, 6), r"mean: expected one number, got 2, for inputs of shape \(1, 5, 6\)"),
        ((4, 2), r"mean: expected one number, got 2, for inputs of shape \(2,\)"),
    ],
)
def test_another_number_of_channels_is_named(shape, said):
    examples = Examples.from_arrays(np.zeros(shape, np.float32), LABELS)
    with pytest.raises(DataError, match=said):
        examples.normalised([0.5, 0.5], [1.0])
