"""A federation whose need is known: clients that have to store facts, few or many.

    python benchmarks/facts.py --out RUNS --results FILE.json [--data FOLDER] [--seeds N]
        [--only KIND ...] [--places PART ...] [--jobs N]

The facts, and the decoder that has to store them, are those of ``facts_data.py``; LoRA on query
and value. In ``facts`` every client has each of its facts twice, so that who has more facts has
more rows. In ``facts, equal rows`` all have 768 rows, 16 facts 48 times or 256 three times: the
number of rows says nothing. In ``facts, reversed rows`` it says the wrong thing: 2,048 rows for 16
facts, 512 for 256. The facts are the same, and so is what a client needs. Beside them stand the
places of ``labelled_places.py``: images, and texts where FOLDER holds them. What is measured is
what ``need_sweep.py`` lists; finished cells are kept, and what FILE.json has of others. Each of N
seeds at a time has a process, with one thread.
"""

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import facts_data
from labelled_places import image_places, text_places
from need_outcome import KINDS, outcome
from need_sweep import Place, Sweep
from torch import Tensor, nn

from polyrank.engines.start import fork_context
from polyrank.threads import one_thread

TITLE = "Facts to store: rank that each client needs"
GROWING = dict.fromkeys((16, 32, 64, 128, 192, 256), 2)  # facts -> copies of each
EQUAL = {n: 768 // n for n in GROWING}
REVERSED = {16: 128, 32: 48, 64: 20, 128: 8, 192: 4, 256: 2}
RANKS = (1, 2, 4, 8, 16)
CRITERIA = (
    "loss_entropy",
    "loss_entropy_examples",
    "token_loss_spread",
    "token_entropy",
    "sample_count",
)
MOST_SEEDS = 10


@dataclass(frozen=True)
class Facts:
    """A federation of clients with facts.

    Args:
        name: of the place.
        counts: facts -> copies of each, a client each.
        out: folder of the base and of the clients' rows.
        twin: a place with the same facts, where the need was measured.
    """

    name: str
    counts: dict[int, int]
    out: Path
    ranks: Sequence[int] = RANKS
    steps: int = 200
    criteria: Sequence[str] = CRITERIA
    twin: "Facts | None" = None

    def clients(self, seed: int) -> list[str]:
        """Return the clients' names, which say how many facts they have."""
        return [f"facts-{count:03d}" for count in self.counts]

    def facts(self, seed: int, client: str) -> list[facts_data.Fact]:
        """Return a client's facts."""
        _, own = facts_data.draw_facts(list(self.counts), seed)
        return own[self.clients(seed).index(client)]

    def settings(self, seed: int) -> dict[str, Any]:
        """Return the settings of a federation."""
        copies = list(self.counts.values())
        rows = self._file(f"{min(copies)}-to-{max(copies)}", copies, seed)
        test = self._file("once", [1] * len(copies), seed)
        shares = {"validation": 0.0, "client_test": 0.0}
        return {
            "rounds": 20,
            "data": {"source": str(rows), "group": "client", "test_path": str(test), **shares},
            "partition": "natural",
            "model": {
                "kind": "hf",
                "name": str(base(self.out)),
                "task": "causal-lm",
                "max_length": 8,
            },
            "adapter": {"targets": ["q_proj", "v_proj"], "extras": "none"},
            "training": {"steps": 10, "batch_size": 64, "learning_rate": 1e-2},
            "evaluation": {"every": 100},
        }

    def _file(self, name: str, copies: Sequence[int], seed: int) -> Path:
        """Return a file of all clients' facts, each so many times."""
        path = self.out / f"rows.{name}.{seed}.jsonl"
        if not path.exists():
            clients = self.clients(seed)
            facts = [self.facts(seed, client) for client in clients]
            facts_data.write_rows(path, zip(clients, facts, copies, strict=True))
        return path

    def rows(self, seed: int, client: str) -> tuple[Tensor, Tensor]:
        """Return a client's questions and objects as tokens."""
        return facts_data.encoded(self.facts(seed, client), facts_data.make_tokenizer())

    def answers(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """Return the logits of the token after each question."""
        logits: Tensor = model(input_ids=inputs).logits[:, -1]
        return logits

    def reached(self, model: nn.Module, seed: int, client: str) -> float:
        """Return the share of a client's facts that a model recalls."""
        facts = self.facts(seed, client)
        return facts_data.recalled(model, facts, facts_data.make_tokenizer()) / len(facts)


def base(out: Path) -> Path:
    """Return the folder of the decoder, which is made when it is first asked for."""
    folder = out / "base"
    if not (folder / "tokenizer.json").exists():
        print(f"base: recalls {facts_data.make_base(folder):.3f} of the public facts")
    return folder


def main() -> None:
    """Run what is missing of what is asked for, and write what all finished cells came to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="folder of mnist.npz and of the texts")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--places", nargs="*", help="parts of their names")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    growing = Facts("facts", GROWING, given.out)
    places: list[Place] = [growing]
    for name, counts in (("equal", EQUAL), ("reversed", REVERSED)):
        places.append(Facts(f"facts, {name} rows", counts, given.out, twin=growing))
    places += image_places(given.data, given.out)
    places += text_places(given.data, given.out) if given.data else []
    wanted = [x for x in places if not given.places or any(part in x.name for part in given.places)]
    if any(isinstance(place, Facts) for place in wanted):
        with one_thread():
            base(given.out)  # before there are processes that would all make it
    measured = partial(measure, wanted, given.only, given.out)
    with ProcessPoolExecutor(given.jobs, fork_context("__main__")) as pool:
        for _ in pool.map(measured, range(given.seeds)):
            write(given.results, places, given.out)


def measure(places: Sequence[Place], kinds: Sequence[str], out: Path, seed: int) -> None:
    """Run what is missing of one seed."""
    with one_thread():
        for kind, place in product(KINDS, places):
            if kind in kinds:
                KINDS[kind](Sweep(place, out), seed)


def write(results: Path, places: Sequence[Place], out: Path) -> None:
    """Write what all finished cells came to, a line a place and seed."""
    told: dict[str, dict[str, Any]] = {}
    if results.exists():
        told = json.loads(results.read_text())["known_need"]
    for place, seed in product(places, range(MOST_SEEDS)):
        if found := outcome(Sweep(place, out, runs=False), seed):
            told.setdefault(place.name, {})[str(seed)] = found
    results.write_text(json.dumps({"title": TITLE, "known_need": told}, indent=1) + "\n")


if __name__ == "__main__":
    main()
