"""Check by their records that runs of one seed had the same rows at the same clients, and start."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from polyrank.comparing.cells import Cell
from polyrank.errors import RunFolderError
from polyrank.report.reading import Run

SPLIT = ("data", "partition", "pretrain", "profile")  # what decides who has which rows
START = (*SPLIT, "model", "base", "head_init", "adapter", "compression", "probe")
TOLERANCE = 1e-4  # of a loss before training


def check_same_start(runs: Iterable[tuple[Cell, Run]]) -> None:
    """Check that runs which should have the same partition, and the same model, have them.

    Label counts that carry noise (``probe.epsilon``) tell nothing of that and are left out, as is
    the start from an adapter, which is cut to an arm's ranks.

    Raises:
        RunFolderError: two differ; both folders are named.
    """
    runs = list(runs)
    exact = [(c, r) for c, r in runs if c.settings.probe.epsilon is None]
    fresh = [(c, r) for c, r in runs if c.settings.init_adapter is None]
    for cell, run, first, other in _pairs(exact, SPLIT):
        if _split(run) != _split(other):
            raise _differ(cell, first, "the same rows at the same clients")
    for cell, run, first, other in _pairs(fresh, START):
        one, two = _loss_before(run), _loss_before(other)
        if one is not None and two is not None and not math.isclose(one, two, rel_tol=TOLERANCE):
            raise _differ(cell, first, f"the same loss before training, got {one:g} and {two:g}")


def _pairs(
    runs: Sequence[tuple[Cell, Run]], keys: Sequence[str]
) -> Iterable[tuple[Cell, Run, Cell, Run]]:
    """Yield each run with the first that has the same seed, and the same in these keys."""
    known: list[tuple[Mapping[str, Any], Cell, Run]] = []
    for cell, run in runs:
        dumped = cell.settings.model_dump(include={"seed", *keys})
        dumped["held_by"] = cell.settings.evaluation.held_by  # clients' rows, or some kept back
        same = next((pair for pair in known if pair[0] == dumped), None)
        if same is None:
            known.append((dumped, cell, run))
        else:
            yield cell, run, same[1], same[2]


def _split(run: Run) -> dict[str, Any]:
    return {line.client: (line.examples, tuple(line.label_counts)) for line in run.profiles}


def _loss_before(run: Run) -> float | None:
    first = run.rounds[0] if run.rounds and run.rounds[0].round == 0 else None
    return ((first.validation or first.test) or {}).get("loss") if first else None


def _differ(cell: Cell, first: Cell, expected: str) -> RunFolderError:
    return RunFolderError(
        f"{cell.folder} and {first.folder}: expected {expected}, seed {cell.seed}"
    )
