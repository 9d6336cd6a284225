"""What ranks a next run needs, read off a run whose ranks were found by need."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tomli_w
from rich.console import Console
from rich.table import Table
from rich.text import Text

from polyrank.errors import RunFolderError
from polyrank.plain import one_line
from polyrank.record.lines import CutLoss, ProfileLine, UpdateLine
from polyrank.record.outcome import mean
from polyrank.record.sent import least_share, mean_sent, percent_held
from polyrank.record.truncation import in_words, rank_that_suffices
from polyrank.report.reading import Run, read_run

LAST = 3  # updates of each client that count
FEW_MODULES = 4  # more than this are not shown one by one
SHOWN = 40  # clients
CAUTION = (
    "A change picks its triples anew in every round; fixed ranks keep their slots, and clients "
    "with so few of them reach less. Compare on validation rows first."
)


@dataclass(frozen=True)
class ClientNeed:
    """What one client sent last.

    Args:
        client: its name.
        modules: module -> mean rank over its last updates; empty if none was taken.
        share: the least share of a module's change that these ranks hold.
    """

    client: str
    modules: Mapping[str, float]
    share: float | None = None

    @property
    def rank(self) -> float | None:
        """The mean over modules."""
        return mean(list(self.modules.values())) if self.modules else None


@dataclass(frozen=True)
class NextRanks:
    """What a run says of the ranks of a next one.

    Args:
        curve: the last truncation curve: of the exported model of a finished run, else of the
            last round that was measured.
        slots: module -> slots of the model that the curve is of.
        rank: the smallest rank that keeps nearly all that the slots gain.
        clients: in the order of the federation.
    """

    curve: Sequence[CutLoss]
    slots: Mapping[str, int]
    rank: int
    clients: Sequence[ClientNeed]

    @property
    def ranks(self) -> list[int]:
        """A rank for each client, at most the server's; of one that sent nothing the others'."""
        sent = [need.rank for need in self.clients if need.rank is not None]
        usual = mean(sent)
        wanted = [usual if need.rank is None else need.rank for need in self.clients]
        return [max(1, min(self.rank, math.ceil(rank - 1e-9))) for rank in wanted]

    def settings(self) -> dict[str, str]:
        """Return lines of a settings file by allocator: one rank for all, and a client its own."""
        ratios = ", ".join(f"{rank / self.rank:.6g}" for rank in self.ranks)
        smaller = {m: k for m, k in self.slots.items() if k < self.rank}
        modules = ", ".join(f"{_key(m)} = {{ r_max = {k} }}" for m, k in smaller.items())
        own = f", modules = {{ {modules} }}" if modules else ""
        span = f"ranks = {{ r_min = 1, r_max = {self.rank}"
        return {
            "uniform": f'allocator = {{ kind = "uniform", rank = {self.rank} }}\n{span} }}\n',
            "ratio": f'allocator = {{ kind = "ratio", ratios = [{ratios}] }}\n{span}{own} }}\n',
        }

    def to_json(self) -> str:
        """Return ``curve``, ``slots``, ``rank``, ``clients`` and ``settings``."""
        clients = {
            need.client: {
                "sent": need.rank,
                "modules": dict(need.modules),
                "least_share": need.share,
                "rank": rank,
            }
            for need, rank in zip(self.clients, self.ranks, strict=True)
        }
        found = {
            "curve": [cut.as_json() for cut in self.curve],
            "slots": dict(self.slots),
            "rank": self.rank,
            "clients": clients,
            "settings": self.settings(),
        }
        return json.dumps(found, ensure_ascii=False)

    def render(self, console: Console) -> None:
        """Print what the server and each client need, and settings for fixed ranks."""
        console.print(Text(f"The server: {in_words(self.curve)}"))
        console.print(Text(f"The clients, mean of their last {LAST} updates:"))
        console.print(self._table())
        left_out = len(self.clients) - SHOWN
        if left_out > 0:
            console.print(Text(f"The first {SHOWN} are shown, {left_out} are left out."))
        lines = self.settings()
        console.print(Text("\nFor fixed ranks, in place of allocator and ranks in the settings:\n"))
        console.print(Text(f"# the same for all\n{lines['uniform']}"), soft_wrap=True)
        own = f"# each client its own, {mean(self.ranks):.1f} on average\n{lines['ratio']}"
        console.print(Text(own), soft_wrap=True)
        console.print(Text(CAUTION))

    def _table(self) -> Table:
        modules = [*self.slots] if len(self.slots) <= FEW_MODULES else []
        table = Table(box=None, pad_edge=False)
        for place, name in enumerate(["client", "rank sent", *modules, "holds", "next rank"]):
            table.add_column(Text(one_line(name)), justify="right" if place else "left")
        for need, rank in [*zip(self.clients, self.ranks, strict=True)][:SHOWN]:
            cells = [need.rank, *(need.modules.get(module) for module in modules)]
            table.add_row(
                Text(one_line(need.client)),
                *("" if cell is None else f"{cell:.1f}" for cell in cells),
                "" if need.share is None else percent_held(need.share),
                str(rank),
            )
        return table


def next_ranks(folder: str | Path) -> NextRanks:
    """Read off a run, finished or not, what ranks a next one needs.

    Raises:
        RunFolderError: there is no run, it is damaged, or its ranks were not found by need.
    """
    run = read_run(Path(folder))
    curve = _last_curve(run)
    if not run.sent or curve is None:
        raise RunFolderError(
            f"{folder}: expected a run with allocator = 'need' whose slots were measured, got one "
            f"with {len(run.sent)} clients that sent a change and "
            f"{'a' if curve else 'no'} truncation curve"
        )
    rank = rank_that_suffices(curve)
    if rank is None:
        raise RunFolderError(
            f"{folder}: expected slots that gain something on the judged rows, got none that do "
            "in the last truncation curve: the run was too short, or learns nothing"
        )
    profiles = [line for line in run.clients if isinstance(line, ProfileLine)]
    needs = [_need(profile.client, run) for profile in profiles]
    if not any(need.modules for need in needs):
        raise RunFolderError(f"{folder}: expected clients that changed something, got none")
    slots: dict[str, int] = {}
    for profile in profiles:
        for module, held in run.ranks_of(profile).items():
            slots[module] = max(min(held, curve[-1].slots), slots.get(module, 0))
    return NextRanks(curve, slots, rank, needs)


def _last_curve(run: Run) -> Sequence[CutLoss] | None:
    if run.summary and run.summary.truncation:
        return run.summary.truncation.curve
    return next((line.cuts for line in reversed(run.rounds) if line.cuts), None)


def _need(client: str, run: Run) -> ClientNeed:
    updates: list[UpdateLine] = [u for u in run.updates if u.client == client and u.ranks][-LAST:]
    modules = dict.fromkeys(name for update in updates for name in update.ranks or {})
    if not mean([mean_sent(update) for update in updates] or [0]):
        return ClientNeed(client, {})
    means = {m: mean([(u.ranks or {}).get(m, 0) for u in updates]) for m in modules}
    return ClientNeed(client, means, min(map(least_share, updates)))


def _key(name: str) -> str:
    """Return a name as TOML writes a key."""
    return tomli_w.dumps({name: 0}).rpartition(" = ")[0]
