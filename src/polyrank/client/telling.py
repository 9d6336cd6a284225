"""What a client may tell of itself. Torch-free."""

from typing import Literal, TypeAlias

Telling: TypeAlias = Literal["examples", "label_counts"]
EVERYTHING: frozenset[Telling] = frozenset({"examples", "label_counts"})
