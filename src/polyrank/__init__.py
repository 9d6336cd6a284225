"""Federated LoRA fine-tuning in which every client gets its own rank.

``run`` and ``resume`` do what the commands of the same names do; the parts are in
``polyrank.mcda``, ``polyrank.criteria``, ``polyrank.allocators``, ``polyrank.aggregators``
and ``polyrank.partitioners``.
"""

from polyrank.api import resume, run
from polyrank.settings.controls import control
from polyrank.settings.toml import load_settings, make_settings

__all__ = ["control", "load_settings", "make_settings", "resume", "run"]
__version__ = "0.1.0"
