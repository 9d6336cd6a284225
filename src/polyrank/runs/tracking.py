"""Metrics to experiment trackers such as TensorBoard, through Accelerate."""

from pathlib import Path

from polyrank.errors import SettingsError
from polyrank.record.lines import RoundLine
from polyrank.settings.schema import Settings


class Trackers:
    """The trackers that the settings name; does nothing where they name none."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._accelerator = None
        if not settings.trackers:
            return
        from accelerate import Accelerator
        from accelerate.tracking import get_available_trackers

        available = {str(tracker) for tracker in get_available_trackers()}
        for name in settings.trackers:
            if name not in available:
                raise SettingsError(f"trackers: {name!r} needs: pip install 'polyrank[track]'")
        self._accelerator = Accelerator(log_with=list(settings.trackers), project_dir=folder)
        self._accelerator.init_trackers("trackers")

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
