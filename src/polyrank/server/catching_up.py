"""Send a client the step from the model that it has to the one there is, where that is less.

The server knows what the clients of the last round were sent in it, as they have kept it. The
step from there is cut to the rank that holds all but a share of its squared norm
(``polyrank.lora.changes``); what it lacks is part of the next step, so that nothing is lost. The
model of a client and that of the server differ a little, and clients' changes are of their own.
Whoever missed a round is sent the whole: the step would be large, and a share of it too much.

Ours; Tang et al., "DoubleSqueeze: Parallel Stochastic Gradient Descent with Double-Pass
Error-Compensated Compression", 2019, https://arxiv.org/abs/1905.05957, compresses both ways too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from polyrank.lora.changes import Rejoin, cut_change, moved
from polyrank.lora.factors import Adapter, Factors
from polyrank.lora.int8 import packed
from polyrank.lora.shapes import Compression
from polyrank.protocol.messages import Download

Held: TypeAlias = Mapping[str, Adapter]  # client -> the model as it was sent it


@dataclass
class CatchingUp:
    """The downloads of one attempt at a round.

    Clients that have the same model are sent the same step, which is computed once.

    Args:
        held: what each client has; one object for those that have the same.
        rejoin: of the aggregator.
        error: share of the squared norm of a step that need not be sent.
        compression: how factors travel.
    """

    held: Held
    rejoin: Rejoin
    error: float
    compression: Compression = "none"
    sent: dict[str, Adapter] = field(default_factory=dict)
    _whole: dict[tuple[str, int], Factors] = field(default_factory=dict)
    _known: dict[tuple[int, str, int], tuple[Factors, Factors] | None] = field(default_factory=dict)

    def step(self, client: str, download: Download) -> Download:
        """Return the download with steps in place of factors, where these are less.

        What the client then has is remembered in ``sent``.
        """
        own = self.held.get(client, {})
        adapter, steps = dict(download.adapter), {}
        has: dict[str, Factors] = {}
        for module, factors in download.adapter.items():
            found = self._cut(own.get(module), factors, module)
            if found is None:
                key = module, factors.rank
                if key not in self._whole:
                    self._whole[key] = self._came(factors)
                has[module] = self._whole[key]
            else:
                adapter[module], has[module] = found
                steps[module] = factors.rank
        self.sent[client] = has
        return replace(download, adapter=adapter, steps=steps)

    def _cut(
        self, own: Factors | None, factors: Factors, module: str
    ) -> tuple[Factors, Factors] | None:
        if own is None:
            return None
        key = id(own), module, factors.rank
        if key not in self._known:
            cut = cut_change(own, factors, error=self.error, most=factors.rank)
            less = cut.sent.rank < factors.rank
            known = cut.sent, moved(own, self._came(cut.sent), factors.rank, self.rejoin)
            self._known[key] = known if less else None
        return self._known[key]

    def _came(self, factors: Factors) -> Factors:
        """Return factors as they arrive."""
        if self.compression == "none":
            return factors
        return packed({"": factors}, {}).opened()[0][""]
