"""Compute the head of the start model from sums of features over all clients."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from polyrank.errors import TrainingError
from polyrank.head_inits import HEAD_INITS
from polyrank.head_inits.feature_sums import find_head, head_of, unpacked
from polyrank.head_inits.head_init import FeatureSums, HeadInit, without_bias
from polyrank.lora.factors import Tensors
from polyrank.protocol.messages import Wanted
from polyrank.server.measuring import Measuring
from polyrank.server.state import ServerState
from polyrank.settings.schema import Settings


@dataclass(frozen=True)
class StartingHead:
    """How a run computes the head that it starts with.

    Args:
        by: the method.
        name: of the layer.
        trained: whether the run starts from factors that change the features.
    """

    by: HeadInit
    name: str
    trained: bool

    def made(self, measuring: Measuring, state: ServerState) -> dict[str, Tensor]:
        """Compute the head from the sums of features that clients send.

        Returns:
            the head's tensors as the extras of ``state`` have them.

        Raises:
            TrainingError: the sums give no finite head, as with features near 0 or out of scale.
        """
        wanted = Wanted(head=self.name, products=self.by.products)
        sums: FeatureSums | None = None
        sizes: dict[str, float] = {}
        for measured in measuring.measured(state, self._ranks(state), wanted):
            part = unpacked(measured.features)
            sums = part if sums is None else sums + part
            sizes[measured.id.client] = float(part.mean.abs().max())
        assert sums is not None  # a federation has clients
        try:
            made = self._layer(sums, state.model.extras)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined] # sums without a solution
            made = {}
        if not made or not all(bool(t.isfinite().all()) for t in made.values()):
            least, most = (of(sizes, key=lambda c: (sizes[c], c)) for of in (min, max))
            raise TrainingError(
                "head_init: the sums of features over clients give no finite head; expected "
                f"features of one scale, got {sizes[least]:.3g} (client {least!r}) to "
                f"{sizes[most]:.3g} (client {most!r}) on average"
            )
        return made

    def _ranks(self, state: ServerState) -> Mapping[str, int]:
        """Return the ranks at which features are taken; new factors change nothing."""
        if not self.trained:
            return {}
        return {module: factors.rank for module, factors in state.model.adapter.items()}

    def _layer(self, sums: FeatureSums, extras: Tensors) -> dict[str, Tensor]:
        weight, bias = self.by.solve(sums)
        made = {f"{self.name}.weight": weight, f"{self.name}.bias": bias}
        if f"{self.name}.bias" not in extras:
            made = {f"{self.name}.weight": without_bias(weight, bias, sums.mean)}
        return {n: t.to(extras[n]) for n, t in made.items()}


def has_new_head(extras: Tensors, classes: int, drawn: Collection[str]) -> bool:
    """Return whether the layer that gives the logits is trained in full and knows nothing yet.

    Args:
        extras: of the start model.
        classes: number of labels.
        drawn: names of a pre-trained model's weights that nothing has given a value but the seed.
    """
    head = find_head(extras, classes)
    return head is not None and f"{head}.weight" in drawn


def starting_head(
    settings: Settings, extras: Tensors, classes: int, *, new: bool
) -> StartingHead | None:
    """Return how the settings say that the head is made; None to leave it as it is.

    Args:
        settings: of the run.
        extras: of the start model; the head is among them.
        classes: number of labels.
        new: whether the head is a new one on a pre-trained model.

    Raises:
        SettingsError: a head is to be made and none is trained in full.
    """
    by = HEAD_INITS.build(settings.head_init)
    if by is None or (by.only_new and not (new and settings.probe.epsilon is None)):
        return None
    name = head_of(extras, classes, settings.head_init.kind)
    return StartingHead(by, name, settings.init_adapter is not None)
