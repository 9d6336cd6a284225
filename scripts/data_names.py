"""Data sets as they are written, by their names in settings and result files."""

import re

NAMES = {
    "digits": "digits",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "banking77": "Banking77",
    "agnews": "AG News",
    "trec6": "TREC-6",
    "cifar10": "CIFAR-10 (JPEG copy)",
    "facts": "facts",
    "language model": "language model",
}


def written(place: str) -> str:
    """Return a federation's name with its data sets as they are written.

    Example:
        >>> written("fashion_mnist on a base of mnist")
        'Fashion-MNIST on a base of MNIST'
    """
    return re.sub(r"\w+", lambda word: NAMES.get(word[0], word[0]), place)
