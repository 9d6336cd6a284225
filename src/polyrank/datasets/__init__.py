"""Data sets, all turned into one small type.

A loader is ``loader(argument, **options) -> Data``: ``load("npz:mnist.npz", seed=0)`` calls
``npz("mnist.npz")``, then makes a test part if the data has none.
"""

from polyrank.datasets.data import Data
from polyrank.datasets.load import DATASETS, glance, load

__all__ = ["DATASETS", "Data", "glance", "load"]
