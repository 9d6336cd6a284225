"""How a client's own model is judged where it classifies."""

import labelled_places
import pytest
import torch


def test_accuracy_counts_labels_as_often_as_the_client_has_them():
    # Of label 0 one in two is right, of label 1 all: 0.9 * 0.5 + 0.1 * 1.
    right, labels = torch.tensor([True, False, True]), torch.tensor([0, 0, 1])
    assert labelled_places.weighted_accuracy(
        right, labels, torch.tensor([90, 10])
    ) == pytest.approx(0.55)


def test_a_label_without_test_rows_is_left_out():
    right, labels = torch.tensor([True, False]), torch.tensor([0, 0])
    assert labelled_places.weighted_accuracy(
        right, labels, torch.tensor([5, 0, 20])
    ) == pytest.approx(0.5)
