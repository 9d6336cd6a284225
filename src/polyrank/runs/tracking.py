"""Metrics to experiment trackers through Accelerate: TensorBoard, Weights & Biases, MLflow."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polyrank.errors import SettingsError
from polyrank.record.lines import RoundLine
from polyrank.settings.schema import Settings

PROJECT = "polyrank"  # of Weights & Biases, the experiment of MLflow
LONGEST = 500  # characters of a setting, as MLflow takes them
INSTALL = {
    "tensorboard": "'polyrank[track]'",
    "wandb": "wandb accelerate",
    "mlflow": "mlflow accelerate",
}


class Trackers:
    """The trackers that the settings name; does nothing where they name none.

    TensorBoard and Weights & Biases write below ``trackers`` in the run folder, MLflow where its
    own settings say (``MLFLOW_TRACKING_URI``). What is sent to a service is what is in the
    records: metrics, bytes and the settings, never an example.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._accelerator = None
        if not settings.trackers:
            return
        where = folder / "trackers"
        accelerator = _accelerator(settings, where)
        where.mkdir(exist_ok=True)
        named = {
            "wandb": {"name": settings.name, "dir": str(where)},
            "mlflow": {"run_name": settings.name},
        }
        accelerator.init_trackers(
            PROJECT, init_kwargs={n: v for n, v in named.items() if n in settings.trackers}
        )
        self._accelerator = accelerator
        for name in named.keys() & {*settings.trackers}:
            flat = dict(_flat(settings.model_dump(exclude_none=True)))
            accelerator.get_tracker(name).store_init_configuration(flat)

    def log(self, line: RoundLine) -> None:
        """Log a round's metrics and bytes; a number that is not finite is left out."""
        if self._accelerator is None:
            return
        values: dict[str, float] = {}
        for part, metrics in (("validation", line.validation), ("test", line.test)):
            known = {n: value for n, value in (metrics or {}).items() if value is not None}
            values |= {f"{part}/{name}": value for name, value in known.items()}
        values |= {"bytes/up": line.bytes.up, "bytes/down": line.bytes.down}
        self._accelerator.log(values, step=line.round)

    def close(self) -> None:
        """Write what is left."""
        if self._accelerator is not None:
            self._accelerator.end_training()


def _accelerator(settings: Settings, where: Path) -> Any:  # noqa: ANN401 - it is optional
    """Return an Accelerator that logs to what the settings name, if all of it is installed."""
    try:
        from accelerate import Accelerator
        from accelerate.tracking import get_available_trackers
    except ImportError as error:
        raise _lacks(settings.trackers[0]) from error
    available = {str(tracker) for tracker in get_available_trackers()}
    for name in settings.trackers:
        if name not in available:
            raise _lacks(name)
    return Accelerator(log_with=list(settings.trackers), project_dir=where)


def _lacks(name: str) -> SettingsError:
    return SettingsError(f"trackers: {name!r} needs: pip install {INSTALL[name]}")


def _flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str | float]]:
    """Yield dotted keys and their values, lists as texts."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value if isinstance(value, int | float) else str(value)[:LONGEST]
