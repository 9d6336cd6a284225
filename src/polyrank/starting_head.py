"""The head of the start model, made from sums over what all clients have."""

from collections.abc import Mapping
from functools import reduce
from operator import add

from polyrank.adapter import Tensors
from polyrank.features import head_of, unpacked
from polyrank.federation import Federation, ServerState
from polyrank.head_inits import HEAD_INITS
from polyrank.head_inits.head_init import HeadInit, without_bias
from polyrank.messages import Measured, Wanted
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
        self.name = head_of(extras, classes, kind.kind) if self.made_by else ""
        self.whole = settings.init_adapter is not None

    def ranks(self, state: ServerState) -> Mapping[str, int]:
        """Return the ranks at which features are taken: new factors change nothing."""
        if not self.whole:
            return {}
        return {module: factors.rank for module, factors in state.model.adapter.items()}

    def measured(self, federation: Federation, state: ServerState) -> list[Measured]:
        """Let every client sum up its features; nothing if the head is left as it is."""
        if self.made_by is None:
            return []
        wanted = Wanted(head=self.name, products=self.made_by.products)
        return federation.probe(state, self.ranks(state), wanted)

    def made(self, measured: list[Measured], extras: Tensors) -> Tensors:
        """Return the tensors of the head that the clients' sums give, as the extras have them."""
        if self.made_by is None:
            return {}
        sums = reduce(add, (unpacked(m.features) for m in measured))
        weight, bias = self.made_by.solve(sums)
        made = {f"{self.name}.weight": weight, f"{self.name}.bias": bias}
        if f"{self.name}.bias" not in extras:
            made = {f"{self.name}.weight": without_bias(weight, bias, sums.mean)}
        return {n: t.to(extras[n]) for n, t in made.items()}
