"""A run's records as data frames of pandas, and its curve."""

from io import BytesIO
from typing import Any

from polyrank.errors import SettingsError
from polyrank.record.schema import Metrics
from polyrank.report.reading import Run
from polyrank.report.yardstick import yardstick

INSTALL = "pip install 'polyrank[notebook]'"


def rounds_frame(run: Run) -> Any:  # noqa: ANN401 - pandas is optional
    """Return one row a round, as ``rounds.jsonl`` has them; round 0 is before training."""
    rows = [
        {
            "round": line.round,
            "clients": len(line.cohort),
            "train_loss": line.train_loss,
            **_prefixed("validation", line.validation),
            **_prefixed("test", line.test),
            "bytes_up": line.bytes.up,
            "bytes_down": line.bytes.down,
            "refused": len(line.refused),
            "failed": len(line.failed),
        }
        for line in run.rounds
    ]
    return data_frame(rows, "round")


def clients_frame(run: Run) -> Any:  # noqa: ANN401
    """Return one row a client: its rows, its ranks and why, and what models come to on its rows."""
    finals = {line.client: line for line in run.finals}
    rows = []
    for profile in run.profiles:
        final, ranks = finals.get(profile.client), run.ranks_of(profile)
        examples = profile.examples
        rows.append(
            {
                "client": profile.client,
                "train": examples.train if examples else None,
                "test": examples.test if examples else None,
                "labels": sum(count > 0 for count in profile.label_counts) or None,
                "score": profile.score,
                "mean_rank": sum(ranks.values()) / len(ranks) if ranks else None,
                "reason": profile.reason,
                **dict(profile.criteria),
                **_prefixed("global", final.shared if final else None),
                **_prefixed("personal", final.personal if final else None),
            }
        )
    return data_frame(rows, "client")


def ranks_frame(run: Run) -> Any:  # noqa: ANN401
    """Return the rank of each client (rows) in each module (columns), as they are now."""
    return data_frame([{"client": p.client, **run.ranks_of(p)} for p in run.profiles], "client")


def plotted(run: Run) -> Any:  # noqa: ANN401 - matplotlib is optional
    """Draw what the run is judged by, by round; return a figure of matplotlib."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise SettingsError(f"plot() needs the package 'matplotlib': {INSTALL}") from error

    class Shown(Figure):
        """A figure that notebooks show, with pyplot or without."""

        def _repr_png_(self) -> bytes:
            picture = BytesIO()
            self.savefig(picture, format="png", dpi=100)
            return picture.getvalue()

    judged = yardstick(run)
    figure = Shown(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    for part in ("test", "validation"):
        found = [(line.round, getattr(line, part) or {}) for line in run.rounds]
        known = [(at, m[judged.metric]) for at, m in found if m.get(judged.metric) is not None]
        if known:
            axes.plot(*zip(*known, strict=True), marker="o", markersize=3, label=part)
    axes.set(xlabel="round", ylabel=judged.metric, title=run.name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    return figure


def _prefixed(name: str, metrics: Metrics | None) -> dict[str, float | None]:
    return {f"{name}_{metric}": value for metric, value in (metrics or {}).items()}


def data_frame(rows: list[dict[str, Any]], index: str) -> Any:  # noqa: ANN401
    """Return rows as a data frame with one of their columns as its index.

    Raises:
        SettingsError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise SettingsError(f"data frames need the package 'pandas': {INSTALL}") from error
    return pandas.DataFrame(rows).set_index(index)
