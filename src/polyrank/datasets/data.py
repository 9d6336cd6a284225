"""The one small type that every data set is turned into."""

from dataclasses import dataclass, replace

import numpy as np

from polyrank.datasets.columns import Columns
from polyrank.datasets.stratified import draw
from polyrank.seeding import numpy_stream


@dataclass(frozen=True, eq=False)
class Data:
    """A labelled data set with a test part.

    Inputs are one of three kinds, told apart by dtype:

    - uint8: images as they are stored, (n, height, width) or (n, height, width, channels),
      0..255. Who feeds a model divides by 255 and moves the channels to the front.
    - float32: features, (n, ...), finite, used as they are. Those of a table, (n, d), are NaN
      where a number is missing, and a run scales the numbers.
    - object: texts, (n,) of ``str``; the empty text is a text. Or (n,) of dicts with ``prompt``
      and ``completion``, or with ``messages``, for language models.

    Args:
        train_x: inputs of the n rows that may be trained on.
        train_y: (n,) int64 labels in 0..C-1.
        test_x: inputs of the m test rows; m = 0 until the test part is made.
        test_y: (m,) int64 labels in 0..C-1.
        label_names: C names, also of labels that no row has, see ``empty_labels``. Labels that
            were numbers bear them as names: a file with 0, 5 and 10 has three labels.
        source: where the data came from, for people to read.
        train_groups: (n,) strings, to which natural client a row belongs, or None.
        labelled: whether the source has labels; if not, all are 0 and nothing can be classified.
        columns: of a table, what its d inputs are; None of anything else.
    """

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    label_names: tuple[str, ...]
    source: str
    train_groups: np.ndarray | None = None
    labelled: bool = True
    columns: Columns | None = None

    @property
    def empty_labels(self) -> tuple[int, ...]:
        """Labels without a training row: named but not there, or in the test part alone."""
        counts = np.bincount(self.train_y, minlength=len(self.label_names))
        return tuple(int(label) for label in np.flatnonzero(counts == 0))


def with_test(data: Data, share: float, seed: int) -> Data:
    """Return ``data`` with a test part; one that is there is left as it is.

    Args:
        data: a data set, possibly without test rows.
        share: of the training rows that become test rows, drawn label by label.
        seed: root seed.

    Raises:
        SettingsError: ``share`` is not in [0, 1).
        DataError: ``share`` is above 0, and the rows are too few to spare one.
    """
    if len(data.test_y):
        return data
    rng = numpy_stream(seed, "data", "test")
    test = draw(data.train_y, share, rng, part="test", groups=data.train_groups)
    train = np.delete(np.arange(len(data.train_y)), test)
    return replace(
        data,
        train_x=data.train_x[train],
        train_y=data.train_y[train],
        test_x=data.train_x[test],
        test_y=data.train_y[test],
        train_groups=None if data.train_groups is None else data.train_groups[train],
    )
