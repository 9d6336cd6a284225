"""What a finished run gives. Torch-free."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Result:
    """A finished run.

    Args:
        folder: where everything is.
        summary: what ``summary.json`` holds.
    """

    folder: Path
    summary: Mapping[str, Any]
