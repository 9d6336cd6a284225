"""Runs that measure how much rank each client needs, and what might have told it beforehand.

A place is a federation whose clients differ in need. Kinds of cells, each a run of ``polyrank``
whose folder is kept, with what it came to in ``cell.json``:

- ``alone``: every client trains by itself, all with one rank; what its own model reaches;
- ``probe``: the same for the steps of a probe, at rank 1 and at ``TOP``;
- ``criteria``: what clients measure for AutoRank;
- ``found``: a federation with ranks by need; the rank that each client sends;
- ``beside``: a federation in which one client has another rank than all others.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Protocol

import torch
from need_statistics import effective_rank, input_root, weighted_values
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import polyrank
from polyrank.record.lines import ProfileLine, UpdateLine
from polyrank.record.run_folder import RunFolder
from polyrank.runs.trained_model import TrainedModel, read_trained

TOP, PROBE_STEPS = 16, 40
Cell = dict[str, Any]


class Place(Protocol):
    """A federation in which need is measured."""

    name: str
    ranks: Sequence[int]  # of the sweep
    steps: int  # that a client trains alone
    criteria: Sequence[str]
    twin: "Place | None"  # whose clients have the same need, measured there

    def clients(self, seed: int) -> Sequence[str]:
        """Return the names of the clients."""

    def settings(self, seed: int) -> Cell:
        """Return data, partition, model and training, with ``rounds`` of a federation."""

    def rows(self, seed: int, client: str) -> tuple[Any, Tensor]:
        """Return a client's training rows, as its model takes them, and their labels."""

    def answers(self, model: nn.Module, inputs: Any) -> Tensor:
        """Return logits (n, classes)."""

    def reached(self, model: nn.Module, seed: int, client: str) -> float:
        """Return what a model is worth to a client; larger is better."""


@dataclass(frozen=True)
class Sweep:
    """The cells of a place.

    Args:
        place: what is measured.
        out: folder of all runs.
        runs: whether to run what is missing; if not, asking for it is a LookupError.
    """

    place: Place
    out: Path
    runs: bool = True

    def alone(self, seed: int, rank: int) -> Cell:
        """Train every client by itself; return what each one's own model reaches."""
        training = {**self.place.settings(seed)["training"], "steps": self.place.steps}

        def read(run: Path) -> Cell:
            return {"reached": self._reached(run, seed, own=True)}

        changes = {**_alone(rank), "training": training}
        return self._cell(f"alone-{seed}-{rank}", changes, seed, read)

    def probe(self, seed: int) -> Cell:
        """Train every client for the steps of a probe; return what that may say of its need."""
        training = {**self.place.settings(seed)["training"], "steps": PROBE_STEPS}
        losses: dict[int, dict[str, float]] = {}
        about: dict[str, dict[str, float]] = {}
        for rank in (1, TOP):

            def read(run: Path) -> Cell:
                trained = {c: read_trained(run, c) for c in self.place.clients(seed)}
                return {c: self._about(of, seed, c) for c, of in trained.items()}

            changes = {**_alone(rank), "training": training}
            found = self._cell(f"probe-{seed}-{rank}", changes, seed, read)
            losses[rank] = {c: of["loss"] for c, of in found.items()}
            about = found
        return {
            "loss left at rank 1": losses[1],
            f"loss left at rank {TOP}": losses[TOP],
            f"loss left at rank 1 less that at {TOP}": {
                c: losses[1][c] - losses[TOP][c] for c in about
            },
            "effective rank": {c: of["plain"] for c, of in about.items()},
            "effective rank, weighted": {c: of["weighted"] for c, of in about.items()},
        }

    def criteria(self, seed: int) -> Cell:
        """Let clients measure the criteria; return them by name."""
        given = self.place.settings(seed)
        changes = {
            **_alone(1),
            "allocator": {"kind": "autorank"},
            "ranks": {"r_min": 1, "r_max": 2},
            "criteria": list(self.place.criteria),
            "training": {**given["training"], "steps": 1},
            "probe": {"steps": PROBE_STEPS},
        }

        def read(run: Path) -> Cell:
            lines = [x for x in RunFolder(run).read_clients() if isinstance(x, ProfileLine)]
            return {n: {x.client: x.criteria[n] for x in lines} for n in self.place.criteria}

        return self._cell(f"criteria-{seed}", changes, seed, read)

    def found(self, seed: int, **options: float) -> Cell:
        """Run a federation with ranks by need; return what clients sent, and the slots."""
        given = self.place.settings(seed)
        changes = {
            "allocator": {"kind": "need", **options},
            "data": {**given["data"], "validation": 0.1},
        }

        def read(run: Path) -> Cell:
            folder = RunFolder(run)
            sent: dict[str, list[float]] = {}
            for line in folder.read_clients():
                if isinstance(line, UpdateLine) and line.ranks:
                    sent.setdefault(line.client, []).append(mean(line.ranks.values()))
            return {
                "sent": {client: mean(ranks) for client, ranks in sent.items()},
                "slots": [line.down for line in folder.read_rounds() if line.down],
                "reached": self._reached(run, seed, own=False),
            }

        name = "-".join(["found", str(seed), *(f"{k}{v}" for k, v in options.items())])
        return self._cell(name, changes, seed, read)

    def beside(self, seed: int, client: str | None, rank: int, others: int, **more: Any) -> Cell:
        """Run a federation in which one client has another rank; return what models reach."""
        clients = list(self.place.clients(seed))
        ratios = [(rank if name == client else others) / others for name in clients]
        changes = {
            "allocator": {"kind": "ratio", "ratios": ratios},
            "ranks": {"r_min": 1, "r_max": others},
            **more,
        }

        def read(run: Path) -> Cell:
            return {kind: self._reached(run, seed, own=kind == "own") for kind in ("global", "own")}

        which = [f"{client}", f"{rank}of{others}", *map(str, more.values())]
        name = "-".join(["beside", str(seed), *which])
        return self._cell(name, changes, seed, read)

    def _cell(self, name: str, changes: Cell, seed: int, read: Callable[[Path], Cell]) -> Cell:
        """Run once, or find what an earlier call left."""
        run = self.out / self.place.name / name
        told = run / "cell.json"
        if not told.exists():
            if not self.runs:
                raise LookupError(f"{run}: has not been run")
            shutil.rmtree(run, ignore_errors=True)
            settings = {**self.place.settings(seed), "seed": seed, "workers": 1, **changes}
            polyrank.run(settings, out=run)
            told.write_text(json.dumps(read(run)))
            print(self.place.name, name, told.read_text()[:300], flush=True)
        found: Cell = json.loads(told.read_text())
        return found

    def _reached(self, run: Path, seed: int, *, own: bool) -> dict[str, float]:
        shared = None if own else read_trained(run, None).bridge().model
        return {
            client: self.place.reached(
                read_trained(run, client).bridge().model if shared is None else shared, seed, client
            )
            for client in self.place.clients(seed)
        }

    def _about(self, trained: TrainedModel, seed: int, client: str) -> dict[str, float]:
        """Return the loss of a client's own model on its rows, and its update's effective ranks."""
        inputs, labels = self.place.rows(seed, client)
        bridge = trained.bridge()
        layers = {name: layer.get_base_layer() for name, layer in bridge.layers.items()}
        with torch.inference_mode():
            answers, seen = watched(layers, lambda: self.place.answers(bridge.model, inputs))
            loss = float(cross_entropy(answers, labels))
        of = trained.adapter
        return {
            "loss": loss,
            "plain": mean(effective_rank(weighted_values(f)) for f in of.values()),
            "weighted": mean(
                effective_rank(weighted_values(f, input_root(seen[m]))) for m, f in of.items()
            ),
        }


def watched(
    layers: Mapping[str, nn.Module], call: Callable[[], Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Call a model; return what it answers, and what reached each layer, (rows, d_in)."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda _, given: seen.__setitem__(name, given[0].reshape(-1, given[0].shape[-1]))

    hooks = [layer.register_forward_pre_hook(keep(name)) for name, layer in layers.items()]
    try:
        return call(), seen
    finally:
        for hook in hooks:
            hook.remove()


def _alone(rank: int) -> Cell:
    """Return what makes a run one in which nobody is helped by others."""
    return {
        "rounds": 1,
        "allocator": {"kind": "uniform", "rank": rank},
        "ranks": {"r_min": 1, "r_max": rank},
        "aggregator": "rbla",
        "recipe": "paper",
    }
