"""The head of the start model, made from sums over what all clients have."""

from collections.abc import Mapping

from polyrank.adapter import Tensors
from polyrank.features import head_of
from polyrank.federation import ServerState
from polyrank.head_inits import HEAD_INITS
from polyrank.head_inits.head_init import FeatureSums, HeadInit, without_bias
from polyrank.messages import NOTHING, Wanted
from polyrank.settings import Settings


class StartingHead:
    """How a run makes its head.

    Args:
        settings: of the run.
        extras: of the start model; the head is among them.
        classes: number of labels.

    Raises:
        SettingsError: a head is to be made and none is trained in full.
    """

    def __init__(self, settings: Settings, extras: Tensors, classes: int) -> None:
        kind = settings.head_init
        self.made_by: HeadInit | None = HEAD_INITS.make(kind.kind, kind.options)()
        self.name, self.wanted = "", NOTHING
        if self.made_by:
            self.name = head_of(extras, classes, kind.kind)
            self.wanted = Wanted(head=self.name, products=self.made_by.products)
        self.whole = settings.init_adapter is not None

    def ranks(self, state: ServerState) -> Mapping[str, int]:
        """Return the ranks at which features are taken: new factors change nothing."""
        if not self.whole:
            return {}
        return {module: factors.rank for module, factors in state.model.adapter.items()}

    def made(self, by: HeadInit, sums: FeatureSums, extras: Tensors) -> Tensors:
        """Return the tensors of the head that sums over clients give, as the extras have them."""
        weight, bias = by.solve(sums)
        made = {f"{self.name}.weight": weight, f"{self.name}.bias": bias}
        if f"{self.name}.bias" not in extras:
            made = {f"{self.name}.weight": without_bias(weight, bias, sums.mean)}
        return {n: t.to(extras[n]) for n, t in made.items()}
