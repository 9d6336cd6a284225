"""The default: linear discriminant analysis where a new head goes on a pre-trained model.

Ours. A head that is drawn from the seed unlearns, in each client, the labels that the client
does not hold; one that starts from sums over all clients need not learn them first. A model
that starts at random has no features to sum up, and a head that comes with the model, from
``base``, ``pretrain`` or ``init_adapter`` knows more already: there nothing is made, and nor is
it where ``probe.epsilon`` asks for noise on label counts.
"""

from dataclasses import replace

from polyrank.head_inits.head_init import HeadInit
from polyrank.head_inits.lda import lda


def auto() -> HeadInit:
    """Do as lda where a new head goes on a pre-trained model, unless forbidden; else as none."""
    return replace(lda(), only_new=True)
