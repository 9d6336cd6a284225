"""Federated LoRA fine-tuning in which every client gets its own rank.

Whole runs: ``run``, ``resume``, ``control``, many of them side by side: ``compare``; and what is
done with one afterwards, ``evaluate``, ``export``, ``load_base`` and ``write_report``. Ranks
before training: ``plan``. Only the parts, for a stack of your own: ``autorank``,
``aggregate_adapters``, and ``polyrank.mcda``, ``polyrank.criteria``, ``polyrank.allocators``,
``polyrank.aggregators``, ``polyrank.partitioners``. All are imported when they are first used;
only what needs torch imports it.
"""

import importlib
from typing import TYPE_CHECKING

from polyrank.formats import VERSION

if TYPE_CHECKING:
    from polyrank import aggregators, allocators, criteria, errors, mcda, partitioners
    from polyrank.aggregators.by_name import aggregate_adapters
    from polyrank.allocators.autorank import autorank
    from polyrank.api import resume, run
    from polyrank.comparing.compare import compare
    from polyrank.comparing.device_time import DeviceTime
    from polyrank.planning.rank_plan import plan
    from polyrank.report.page import write_report
    from polyrank.runs.evaluation import evaluate
    from polyrank.runs.export import export
    from polyrank.runs.exported_base import load_base
    from polyrank.runs.pushing import push
    from polyrank.settings.controls import control
    from polyrank.settings.toml import load_settings, make_settings

__all__ = [
    "DeviceTime",
    "aggregate_adapters",
    "aggregators",
    "allocators",
    "autorank",
    "compare",
    "control",
    "criteria",
    "errors",
    "evaluate",
    "export",
    "load_base",
    "load_settings",
    "make_settings",
    "mcda",
    "partitioners",
    "plan",
    "push",
    "resume",
    "run",
    "write_report",
]

__version__ = VERSION

_FROM = {
    "DeviceTime": "polyrank.comparing.device_time",
    "aggregate_adapters": "polyrank.aggregators.by_name",
    "autorank": "polyrank.allocators.autorank",
    "compare": "polyrank.comparing.compare",
    "control": "polyrank.settings.controls",
    "evaluate": "polyrank.runs.evaluation",
    "export": "polyrank.runs.export",
    "load_base": "polyrank.runs.exported_base",
    "load_settings": "polyrank.settings.toml",
    "make_settings": "polyrank.settings.toml",
    "plan": "polyrank.planning.rank_plan",
    "push": "polyrank.runs.pushing",
    "resume": "polyrank.api",
    "run": "polyrank.api",
    "write_report": "polyrank.report.page",
}

if not TYPE_CHECKING:  # or type checkers take any name for one of ours

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used."""
        if name in _FROM:
            return getattr(importlib.import_module(_FROM[name]), name)
        if name in __all__:
            return importlib.import_module(f"polyrank.{name}")
        raise AttributeError(f"module 'polyrank' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
