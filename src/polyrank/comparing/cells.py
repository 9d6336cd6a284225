"""One run of a comparison: an arm with a seed, in a folder of its own."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from polyrank.comparing.plan import NO_MATTER, Variant
from polyrank.errors import RunFolderError
from polyrank.record.run_folder import RunFolder
from polyrank.settings.schema import Settings
from polyrank.settings.toml import changed_keys


@dataclass(frozen=True)
class Cell:
    """One run.

    Args:
        arm: its arm's name.
        settings: of the run.
        folder: of the run.
        rate: the learning rate that is tried; None of a run that is compared.
    """

    arm: str
    settings: Settings
    folder: Path
    rate: float | None = None

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.settings.seed

    @property
    def name(self) -> str:
        """What it is called where it is told of."""
        what = f"seed {self.seed}"
        if self.rate is not None:
            what = f"learning rate {self.rate:g}, {what}"
        return f"{self.arm}, {what}"

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        return RunFolder(self.folder).finished


def compared_cell(out: Path, variant: Variant, seed: int, rate: float | None) -> Cell:
    """Return a run that is compared."""
    folder = out / "runs" / variant.name / f"seed-{seed}"
    return Cell(variant.name, variant.of(seed, rate), folder)


def tuning_cell(out: Path, variant: Variant, seed: int, rate: float) -> Cell:
    """Return a run that tries a learning rate."""
    folder = out / "tuning" / variant.name / f"rate-{rate:g}" / f"seed-{seed}"
    return Cell(variant.name, variant.of(seed, rate), folder, rate)


def check_kept(cells: Iterable[Cell], *but: str) -> None:
    """Check that what is in the folders of runs was begun with the settings that are asked for.

    Args:
        cells: of which some may be there already.
        but: keys that are not known yet.

    Raises:
        RunFolderError: a folder has a run of other settings, or something else.
    """
    for cell in cells:
        if not (cell.folder / "config.toml").exists():
            continue
        keys = changed_keys(RunFolder(cell.folder).settings, cell.settings)
        changed = [k for k in keys if k not in but and k.partition(".")[0] not in NO_MATTER]
        if changed:
            raise RunFolderError(
                f"{cell.folder}: expected a run of these settings, got one with other "
                f"{', '.join(changed)}; choose another folder (--out), or remove that run"
            )
