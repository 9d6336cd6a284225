"""Handwritten digits that ship inside scikit-learn.

The test part of Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI
Machine Learning Repository, 1998, https://doi.org/10.24432/C50P49.
"""

import numpy as np

from polyrank.datasets.data import Data
from polyrank.errors import DataError


def digits(argument: str = "") -> Data:
    """Return 1,797 digits of 8 x 8 pixels, ten labels, without a test part.

    Pixels are stored as 0..16; they come as float32 in [0, 1], shape (1797, 8, 8).

    Raises:
        DataError: an argument was given; there is nothing to choose.
    """
    if argument:
        raise DataError(f"data set 'digits': expected no argument, got {argument!r}")
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = (images.reshape(-1, 8, 8) / 16).astype(np.float32)
    return Data(
        train_x=pixels,
        train_y=labels.astype(np.int64),
        test_x=pixels[:0],
        test_y=np.empty(0, dtype=np.int64),
        label_names=tuple(str(c) for c in range(10)),
        source="digits of scikit-learn",
    )
