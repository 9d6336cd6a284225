"""Where the head of a classifier starts: the layer that turns features into logits.

An entry is a function that takes its options as keywords and returns a ``HeadInit``, or None
to start from the head as the model has it.
"""

from polyrank.registry import Table

HEAD_INITS = Table(
    "head init",
    {
        "auto": "polyrank.head_inits.auto:auto",
        "none": "polyrank.head_inits.none:none",
        "class_means": "polyrank.head_inits.class_means:class_means",
        "lda": "polyrank.head_inits.lda:lda",
    },
    group="polyrank.head_inits",
)
