"""What of a run must be the same to the bit, and runs that keep every kind of state."""

from pathlib import Path
from typing import Any

from polyrank.settings.schema import Settings
from tests.small import small

SAME = ("config.toml", "rounds.jsonl", "clients.jsonl", "summary.json")
LOSSES = ["loss_entropy_examples"]  # of the model as it is then
PAPER = {"kind": "autorank", "spread": "paper"}  # ranks for any difference
EVERY_2 = {"r_min": 1, "r_max": 6, "refresh_every": 2}
PRUNED = {"kind": "hetlora", "start": "uniform", "start_options": {"rank": 6}, "decay": 0.8}
BY_RANK = {"scaling": {"alpha": 4.0, "per": "rank"}}
KINDS: dict[str, dict[str, Any]] = {
    "global factors": {"aggregator": "rbla"},
    "factors of the client's own": {"aggregator": "fedsa"},
    "a third factor": {"aggregator": "rbla", "adapter": {"parametrisation": "svd"}},
    "one factor in each round": {"aggregator": "rolora"},
    "fresh factors and a changed base": {"aggregator": "flora"},
    "factors beside a changed base": {"aggregator": "fedex"},
    "all slots in view": {"aggregator": "anchored"},
    "moments of the optimiser": {"server_optimizer": "fedadam"},
    "ranks chosen again": {
        "aggregator": "fedsa",
        "allocator": PAPER,
        "ranks": EVERY_2,
        "criteria": LOSSES,
    },
    "ranks chosen again, all slots": {
        "aggregator": "anchored",
        "allocator": PAPER,
        "ranks": EVERY_2,
        "criteria": LOSSES,
    },
    "scaling by rank": {"aggregator": "flexlora", "adapter": BY_RANK},
    "eight bits": {"aggregator": "rbla", "compression": "int8"},
    "eight bits of one factor in each round": {"aggregator": "rolora", "compression": "int8"},
    "ranks cut by the clients": {"aggregator": "rolora", "allocator": PRUNED},
    "ranks cut, fresh factors": {"aggregator": "flora", "allocator": PRUNED},
}


def of_kind(kind: str, **changes: object) -> Settings:
    """Return a run with that kind of state, some clients a round, momentum and an average."""
    helped = {"cohort_size": 3, "server_optimizer": "fedavgm", "average": 0.8}
    return small(**{**helped, **KINDS[kind], **changes})


def contents(folder: Path, but: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Every file of a run that must be the same to the bit."""
    files = [folder / name for name in SAME if name not in but]
    files += sorted(folder.glob("checkpoint/**/*.safetensors"))
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}
