"""The only place that imports PEFT: wrap a model, read and write PEFT folders."""

from polyrank.peft_bridge.bridge import Bridge
from polyrank.peft_bridge.folder import (
    Published,
    place_adapter,
    place_saved,
    read_adapter,
    read_saved,
    saved_modules,
    write_adapter,
)
from polyrank.peft_bridge.targets import ModuleShape, find_extras, find_targets

__all__ = [
    "Bridge",
    "ModuleShape",
    "Published",
    "find_extras",
    "find_targets",
    "place_adapter",
    "place_saved",
    "read_adapter",
    "read_saved",
    "saved_modules",
    "write_adapter",
]
