"""What each criterion says that the others do not, on four partitions of the digits.

    python benchmarks/criteria.py --results results/criteria.json [--seeds N] [--steps N]

For each partition of the digits over ten clients, by seed: a criterion's rank correlation with
the number of examples, the number of labels and the entropy of the labels; how far it tells
clients apart, (max - min) / max; the weight that CRITIC gives it beside the four criteria of
labels, as published and with spread = "relative"; and its noise, its deviation over other
batches of the same rows divided by that between clients. ``iid`` deals rows at random: its
clients differ by chance only.

Model, optimiser and ranks are those of ``examples/digits.toml``. One thread, one process; about
two minutes for five seeds.
"""

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from polyrank.allocators.alike import counted, difference
from polyrank.lora.factors import prefix
from polyrank.mcda import critic
from polyrank.protocol.messages import Download, Measured, ProbeTask, TaskId, Wanted
from polyrank.runs.preparation import first_adapter, prepare
from polyrank.settings.schema import Settings
from polyrank.settings.toml import load_settings
from polyrank.threads import one_thread

EXAMPLE = Path(__file__).parent.parent / "examples" / "digits.toml"
LOSSES = ("loss_entropy", "loss_entropy_examples")
LABELS = ("label_entropy", "gini_simpson", "label_count", "sample_count")
CRITERIA = (*LOSSES, *LABELS)
PARTITIONS = ("staircase", "double_imbalance", "dirichlet", "iid")
AGAINST = ("sample_count", "label_count", "label_entropy")
REPEATS = 4


def measured(settings: Settings) -> np.ndarray:
    """Return criteria (REPEATS, clients, J), each time from other batches of the same rows."""
    ready = prepare(settings, None)
    adapter = first_adapter(settings, ready.server.shapes)
    least = {m: f.take(prefix(settings.ranks.r_min)) for m, f in adapter.items()}
    download, trainer = Download(least, ready.server.extras), ready.crew.performer().trainer

    def once(client: str, attempt: int) -> list[float]:
        task_id = TaskId(settings.name, 0, client, attempt)
        answer = trainer.perform(ProbeTask(task_id, download, 1.0, Wanted(CRITERIA)))
        assert isinstance(answer, Measured), answer
        return [answer.criteria[name] for name in CRITERIA]

    clients = ready.sites
    return np.array([[once(client, at) for client in clients] for at in range(REPEATS)])


def told(values: np.ndarray) -> dict[str, dict[str, float]]:
    """Return what is told of each criterion, from values (REPEATS, clients, J)."""
    by_name = dict(zip(CRITERIA, values[0].T, strict=True))
    found = {}
    for at, (name, column) in enumerate(by_name.items()):
        beside = (name if name in LOSSES else LOSSES[0], *LABELS)
        matrix = np.column_stack([by_name[other] for other in beside])
        stretch = counted(difference(matrix))
        between = values[:, :, at].mean(axis=0).std(ddof=1)
        within = np.sqrt(values[:, :, at].var(axis=0, ddof=1).mean())
        row = {
            **{f"with {other}": correlation(column, by_name[other]) for other in AGAINST},
            "difference": np.ptp(column) / column.max(),
            "weight, paper": critic(matrix)[beside.index(name)],
            "weight, relative": critic(matrix, stretch=stretch)[beside.index(name)]
            if stretch.any()
            else 0.0,
            "noise": within / between if between else 0.0,
        }
        found[name] = {key: round(float(value), 4) for key, value in row.items()}
    return found


def correlation(left: np.ndarray, right: np.ndarray) -> float:
    """Return Spearman's rank correlation, 0 where one side is constant."""
    if not np.ptp(left) or not np.ptp(right):
        return 0.0
    return float(spearmanr(left, right).statistic)


def main() -> None:
    """Measure, and write all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    given = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    for partition, seed in product(PARTITIONS, range(given.seeds)):
        changes = [f"seed={seed}", f"probe.steps={given.steps}"]
        changes.append(f'partition={{ kind = "{partition}", clients = 10 }}')
        found.setdefault(partition, {})[str(seed)] = told(measured(load_settings(EXAMPLE, changes)))
    title = f"Criteria on the digits, ten clients, probes of {given.steps} steps"
    given.results.write_text(json.dumps({"title": title, "criteria": found}, indent=1) + "\n")


if __name__ == "__main__":
    with one_thread():
        main()
