"""Where the head of a classifier starts: the layer that turns features into logits.

An entry is a function that takes its options as keywords and returns a ``HeadInit``, or None
to start from the head as the model has it.
"""

from types import NoneType
from typing import TYPE_CHECKING

from polyrank.registry import Found, Registry

if TYPE_CHECKING:
    from polyrank.head_inits.head_init import HeadInit


def _made(found: Found) -> "HeadInit | None":
    from polyrank.head_inits.head_init import HeadInit  # torch

    return found.made(HeadInit, NoneType)


HEAD_INITS: Registry["HeadInit | None"] = Registry(
    "head init",
    {
        "auto": "polyrank.head_inits.auto:auto",
        "none": "polyrank.head_inits.none:none",
        "class_means": "polyrank.head_inits.class_means:class_means",
        "lda": "polyrank.head_inits.lda:lda",
    },
    group="polyrank.head_inits",
    make=_made,
)
