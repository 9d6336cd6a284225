"""Rank choosers at one budget: AutoRank, uniform and random, under some aggregators.

    python benchmarks/choosers.py --out DIR [--seeds 5] [--partition NAME] [--aggregators NAME...]

AutoRank runs without a budget; what its ranks cost in parameters is then the budget of the
other two, seed by seed. Finished runs in DIR are kept, so the command can be repeated.
Collect the result with ``python scripts/collect.py``.
"""

import argparse
from pathlib import Path
from typing import Any

import polyrank
from polyrank import load_settings
from polyrank.record.lines import UpdateLine
from polyrank.record.run_folder import RunFolder

EXAMPLE = Path(__file__).parent.parent / "examples" / "digits.toml"


def run(out: Path, document: dict[str, Any]) -> dict[str, Any]:
    """Run once, or read what an earlier call left."""
    if not out.exists():
        polyrank.run(document, out=out)
    elif not RunFolder(out).finished:
        polyrank.resume(out)
    return RunFolder(out).read_summary().as_json()


def slot_parameters(run_folder: Path) -> int:
    """Sum over clients and modules of rank * (d_in + d_out), from the bytes of round 1."""
    folder = RunFolder(run_folder)
    updates = [line for line in folder.read_clients() if isinstance(line, UpdateLine)]
    extras = 512 + 10  # the biases of the digits example
    return sum(line.bytes.down // 4 - extras for line in updates if line.round == 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--partition", default="staircase")
    parser.add_argument("--aggregators", nargs="+", default=["rbla", "zero_padding"])
    given = parser.parse_args()
    base = load_settings(EXAMPLE).model_dump(exclude_none=True)
    base |= {"workers": 1, "partition": {"kind": given.partition, "clients": 10}}
    for seed in range(given.seeds):
        budget = None
        for allocator in ("autorank", "uniform", "random"):
            for aggregator in given.aggregators:
                folder = given.out / f"{given.partition}-{allocator}-{aggregator}-{seed}"
                document = {**base, "seed": seed, "allocator": allocator, "aggregator": aggregator}
                if budget:
                    document["ranks"] = {**base["ranks"], "budget": {"parameters": budget}}
                summary = run(folder, document)
                print(f"{folder.name:<42} {summary['accuracy']['final']:.4f}", flush=True)
                budget = budget or slot_parameters(folder)
