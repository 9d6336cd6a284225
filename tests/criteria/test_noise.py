"""Noise on label counts."""

from dataclasses import replace

import numpy as np
import pytest

from polyrank.criteria import (
    CRITERIA,
    ClientView,
    measure,
    noisy_counts,
    noisy_view,
    without_noise,
)
from polyrank.errors import DataError, SettingsError


def view(label_counts=(1.0, 1.0), examples=2.0, epochs=None, each=None):
    arrays = [None if given is None else np.array(given, float) for given in (epochs, each)]
    return ClientView(np.array(label_counts, float), examples, *arrays)


def one(name, of):
    return measure([name], of)[name]


def test_noise_has_mean_zero_and_scale_one_over_epsilon():
    """Laplace of scale b: mean 0, mean absolute deviation b, variance 2 b^2.

    200,000 draws far from the clip: the mean's standard error is b sqrt(2 / 200,000) =
    0.0032 b, that of the mean absolute deviation 0.0022 b; allowed are 5 of each.
    """
    noise = noisy_counts(np.full(200_000, 1e6), 0.5, np.random.default_rng(0)) - 1e6
    assert abs(noise.mean()) < 5 * 0.0032 * 2
    assert abs(np.abs(noise).mean() - 2) < 5 * 0.0022 * 2


def test_noisy_counts_are_never_negative_and_input_is_kept():
    given = np.zeros(1000)
    noisy = noisy_counts(given, 0.1, np.random.default_rng(0))
    assert (noisy >= 0).all()
    assert noisy.any()
    assert not given.any()


def test_noisy_view_takes_examples_from_the_noisy_counts_and_shows_nothing_else():
    clean = view([30, 0, 5], 35, epochs=[2, 1], each=[1, 2])
    clean = replace(clean, token_losses=np.array([1.0]), token_counts=np.array([2.0]))
    noisy = noisy_view(clean, 1.0, np.random.default_rng(0))
    assert noisy.examples == noisy.label_counts.sum() != 35
    others = (noisy.epoch_losses, noisy.example_losses, noisy.token_losses, noisy.token_counts)
    assert others == (None, None, None, None)


def test_every_criterion_gets_the_noise_or_is_told_as_one_that_does_not():
    """On a view with nothing but noisy counts a criterion answers, or it is marked."""
    noisy = noisy_view(view([30, 5], 35, epochs=[2, 1]), 1.0, np.random.default_rng(0))
    for name in CRITERIA.own:
        if without_noise([name]):
            with pytest.raises(DataError):
                one(name, noisy)
        else:
            assert one(name, noisy) >= 0


def test_noisy_view_without_labels_noises_the_number_of_examples():
    noisy = noisy_view(view([], 35), 1.0, np.random.default_rng(0))
    assert noisy.examples != 35
    assert abs(noisy.examples - 35) < 20  # beyond with probability e^-20


@pytest.mark.parametrize("epsilon", [0, -1, np.nan, np.inf])
def test_impossible_epsilon(epsilon):
    with pytest.raises(SettingsError, match="epsilon"):
        noisy_counts(np.ones(2), epsilon, np.random.default_rng(0))
