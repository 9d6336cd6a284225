"""A finished run in Python: its records as data frames, its curve, and what is done with it."""

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from polyrank.datasets.data import Data
from polyrank.plain import one_line
from polyrank.record.summary import Summary
from polyrank.report.frames import clients_frame, plotted, ranks_frame, rounds_frame
from polyrank.report.reading import read_run


@dataclass(frozen=True)
class Result:
    """A finished run.

    Args:
        folder: where everything is.
        summary: what ``summary.json`` holds.
        data: what was handed over to the run in Python; None where its settings name the data.
    """

    folder: Path
    summary: Mapping[str, Any]
    data: Data | None = field(default=None, repr=False)

    @property
    def report(self) -> Path:
        """The page about the run, one HTML file."""
        return self.folder / "report.html"

    @property
    def rounds(self) -> Any:  # noqa: ANN401 - a DataFrame; pandas is optional
        """One row a round: losses and metrics on validation and test rows, bytes both ways."""
        return rounds_frame(read_run(self.folder))

    @property
    def clients(self) -> Any:  # noqa: ANN401
        """One row a client: its rows, score, mean rank and why, and metrics on its own rows."""
        return clients_frame(read_run(self.folder))

    @property
    def ranks(self) -> Any:  # noqa: ANN401
        """The rank of each client (rows) in each module (columns)."""
        return ranks_frame(read_run(self.folder))

    def plot(self) -> Any:  # noqa: ANN401 - a Figure; matplotlib is optional
        """Return a figure of matplotlib: accuracy or perplexity by round.

        Raises:
            SettingsError: matplotlib is not installed.
        """
        return plotted(read_run(self.folder))

    def evaluate(self, data: object = None, *, client: str | None = None) -> dict[str, float]:
        """Return the model's metrics on the run's own test rows, or on other data.

        Args:
            data: a source as in the settings, or data as ``polyrank.run`` takes them.
            client: whose model; None for the global one.
        """
        from polyrank.runs.evaluation import evaluate

        return evaluate(self.folder, data, client, own=self.data, trust=True)

    def export(
        self,
        out: str | Path,
        *,
        client: str | None = None,
        merge: bool = False,
        pad_rank: int | None = None,
        licence: str | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write the trained model so that it stands alone: see ``polyrank.export``."""
        from polyrank.runs.export import export

        return export(
            self.folder,
            out,
            client=client,
            merge=merge,
            pad_rank=pad_rank,
            licence=licence,
            overwrite=overwrite,
            trust=True,
        )

    def _repr_html_(self) -> str:
        """Return a small card for notebooks."""
        summary = Summary.read(self.summary, self.folder)
        judged = summary.judged
        facts = {
            judged: summary.ended.final,
            f"worst client's {judged}": summary.worst_client and summary.worst_client.final,
            f"own models' {judged}": summary.personal and summary.personal.mean,
        }
        rows = [(name, f"{value:.4g}") for name, value in facts.items() if value is not None]
        rows.append(("clients, rounds", f"{summary.clients}, {summary.rounds}"))
        rows.append(("mean rank", f"{summary.mean_rank or 0:.2f} ({summary.allocator})"))
        sent = f"{decimal(summary.bytes.up)} up, {decimal(summary.bytes.down)} down"
        rows += [("sent", sent), ("report", str(self.report))]
        cells = "".join(f"<tr><th>{_safe(k)}</th><td>{_safe(v)}</td></tr>" for k, v in rows)
        return f"<table><caption>{_safe(summary.name)}</caption>{cells}</table>"


def _safe(text: str) -> str:
    return html.escape(one_line(text))
