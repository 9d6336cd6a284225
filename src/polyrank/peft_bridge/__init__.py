"""The only place that imports PEFT: wrap a model, read and write PEFT folders."""

from polyrank.models.packed import quiet_bitsandbytes

quiet_bitsandbytes()  # PEFT imports it where it is installed

from polyrank.peft_bridge.bridge import Bridge  # noqa: E402
from polyrank.peft_bridge.folder import (  # noqa: E402
    Published,
    check_adapter_folder,
    place_adapter,
    place_saved,
    read_adapter,
    read_saved,
    saved_modules,
    write_adapter,
)
from polyrank.peft_bridge.targets import find_extras, find_targets  # noqa: E402

__all__ = [
    "Bridge",
    "Published",
    "check_adapter_folder",
    "find_extras",
    "find_targets",
    "place_adapter",
    "place_saved",
    "read_adapter",
    "read_saved",
    "saved_modules",
    "write_adapter",
]
