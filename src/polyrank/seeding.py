"""One root seed, many independent streams, named by what they are for.

A stream is addressed by a path such as ``("train", round, client)``. Its seed is a hash
of the root seed and the path, so that adding a stream never shifts another one and a
resumed run draws what the uninterrupted run would have drawn.
"""

import hashlib
import json

import numpy as np


def derive(seed: int, *path: str | int) -> int:
    """Derive a 63-bit seed from a root seed and a path of names and numbers.

    Example:
        >>> derive(0, "train", 3, "client-a") == derive(0, "train", 3, "client-a")
        True
        >>> derive(0, "train", 3) == derive(0, "train", 4)
        False
    """
    digest = hashlib.blake2b(json.dumps([seed, *path]).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def numpy_stream(seed: int, *path: str | int) -> np.random.Generator:
    """Return the NumPy generator of a path."""
    return np.random.default_rng(derive(seed, *path))
