"""The only place that imports PEFT, when it is first used: wrap a model, read and write folders."""

from polyrank.models.packed import quiet_bitsandbytes
from polyrank.peft_bridge.bridge import Bridge
from polyrank.peft_bridge.placing import place_adapter, place_saved
from polyrank.peft_bridge.reading import check_adapter_folder, read_adapter, read_saved
from polyrank.peft_bridge.targets import find_extras, find_targets
from polyrank.peft_bridge.writing import Published, saved_modules, write_adapter

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

quiet_bitsandbytes()  # PEFT imports it where it is installed
