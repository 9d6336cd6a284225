"""Noise on label counts before any criterion is computed.

Dwork, McSherry, Nissim, Smith, "Calibrating Noise to Sensitivity in Private Data
Analysis", TCC 2006: the Laplace mechanism.
"""

import math

import numpy as np

from polyrank.criteria.view import ClientView, Floats, non_negative
from polyrank.errors import SettingsError


def noisy_counts(counts: Floats, epsilon: float, rng: np.random.Generator) -> Floats:
    """Add Laplace noise of scale 1/epsilon to each count and clip at 0.

    Adding or removing one example changes one count by one, so one release is
    epsilon-differentially private for the presence of one example, as far as the counts,
    and what is computed from them alone, go. It does NOT protect:

    - the model updates, and the mean loss that is sent with them;
    - the true number of examples, unless it is replaced by the noisy sum (``noisy_view``
      does) and is no longer used as the client's weight in aggregation;
    - repeated releases: k of them cost k epsilon, so draw once and keep the result;
    - against the low bits of double-precision noise (Mironov, CCS 2012).

    Args:
        counts: (classes,) examples per label.
        epsilon: privacy loss, above 0; smaller is more private and noisier.
        rng: the client's own generator; whoever knows its seed can take the noise off.

    Returns:
        (classes,) noisy counts, at least 0.

    Raises:
        SettingsError: epsilon is not a finite number above 0.
    """
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise SettingsError(f"epsilon: expected a finite number above 0, got {epsilon!r}")
    checked = non_negative(counts, "counts")
    noise = rng.laplace(0.0, 1 / epsilon, checked.shape)
    noisy: Floats = np.maximum(checked + noise, 0.0)
    return noisy


def noisy_view(view: ClientView, epsilon: float, rng: np.random.Generator) -> ClientView:
    """Return a view of noisy label counts, with their sum as the number of examples.

    Without labels, the number of examples is the one count that gets the noise. Losses and
    token counts get none, so they are not in the view: no criterion can let them out.
    """
    if view.label_counts.size == 0:
        examples = noisy_counts(np.array([view.examples]), epsilon, rng)
        return ClientView(view.label_counts, float(examples[0]))
    counts = noisy_counts(view.label_counts, epsilon, rng)
    return ClientView(counts, float(counts.sum()))
