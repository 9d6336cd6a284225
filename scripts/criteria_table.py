"""The table of what criteria say, from a result file of ``benchmarks/criteria.py``."""

import statistics
from collections.abc import Mapping
from typing import Any

COLUMNS = {
    "sample count": "with sample_count",
    "label count": "with label_count",
    "label entropy": "with label_entropy",
    "noise": "noise",
    "difference": "difference",
    "weight, paper": "weight, paper",
    "weight, relative": "weight, relative",
}


def by_criterion(result: Mapping[str, Any]) -> str:
    """Write a row for each criterion and partition: means over the seeds."""
    lines = [
        f"| criterion | partition | {' | '.join(COLUMNS)} |",
        f"| {' | '.join('---' for _ in range(2 + len(COLUMNS)))} |",
    ]
    found = result["criteria"]
    seeds = {len(of) for of in found.values()}
    for name in next(iter(next(iter(found.values())).values())):
        for partition, by_seed in found.items():
            cells = [
                f"{statistics.mean(of[name][key] for of in by_seed.values()):.2f}"
                for key in COLUMNS.values()
            ]
            lines.append(f"| `{name}` | {partition} | {' | '.join(cells)} |")
    lines += ["", f"Means over {' or '.join(map(str, seeds))} seeds."]
    return "\n".join(lines)
