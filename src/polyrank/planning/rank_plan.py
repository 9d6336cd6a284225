"""Which client should get which rank, and why, before anything is trained."""

import csv
import html
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast, get_args

from rich.console import Console
from rich.table import Table
from rich.text import Text

from polyrank.allocators.autorank import CriterionWeights, NamedWeights, SpreadRule, autorank
from polyrank.allocators.choice import Choice, Evidence
from polyrank.allocators.limits import Budget, Limits, ModuleRange, Ranks
from polyrank.allocators.reasons import reasons, spread_note
from polyrank.errors import SettingsError
from polyrank.mcda import Normalisation
from polyrank.plain import one_line
from polyrank.planning.client_csv import clients_of_frame, read_clients

MODULE = "all"  # a plan gives one rank per client, whatever the modules
SHOWN = 40
COLUMNS = ("client", "score", "rank", "reason")
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # also in full width


@dataclass(frozen=True)
class Planned:
    """Ranks for the clients of a file, in the order of the file.

    Args:
        choice: what ``autorank`` answered, for the one module ``"all"``; it has scores.
    """

    choice: Choice

    @property
    def ranks(self) -> Ranks:
        """Ranks (n,) in the order of ``choice.clients``."""
        return self.choice.ranks[MODULE]

    def rows(self) -> Iterator[tuple[str, float, int, str]]:
        """Yield client, score, rank and reason of each client."""
        scores = [] if self.choice.scores is None else self.choice.scores.tolist()
        why = reasons(self.choice)
        return zip(self.choice.clients, scores, self.ranks.tolist(), why, strict=True)

    @property
    def frame(self) -> Any:  # noqa: ANN401 - pandas is optional
        """A data frame of pandas with score, rank and reason of each client.

        Raises:
            SettingsError: pandas is not installed.
        """
        from polyrank.report.frames import data_frame

        rows = [dict(zip(COLUMNS, row, strict=True)) for row in self.rows()]
        return data_frame(rows, COLUMNS[0])

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        head = "".join(f"<th>{name}</th>" for name in COLUMNS)
        cells = (
            "".join(f"<td>{html.escape(one_line(str(value)))}</td>" for value in row)
            for row in islice(self.rows(), SHOWN)
        )
        rows = "".join(f"<tr>{row}</tr>" for row in cells)
        left_out = max(0, len(self.choice.clients) - SHOWN)
        more = f"<caption>{left_out} more clients</caption>" if left_out else ""
        return f"<table>{more}<tr>{head}</tr>{rows}</table>"

    def to_json(self) -> str:
        """Return ``criterion_weights``, ``rank_spread``, and by client ``scores`` and ``ranks``."""
        rows = list(zip(self.choice.clients, self.rows(), strict=True))
        return json.dumps(
            {
                "criterion_weights": dict(self.choice.criterion_weights),
                "rank_spread": self.choice.share,
                "scores": {client: score for client, (_, score, _, _) in rows},
                "ranks": {client: rank for client, (_, _, rank, _) in rows},
            },
            ensure_ascii=False,
        )

    def write_csv(self, path: str | Path) -> None:
        """Write the columns client, score, rank, reason; the file appears whole or not at all.

        A text that a spreadsheet would run as a formula gets an apostrophe before it.

        Raises:
            SettingsError: the file cannot be written.
        """
        path = Path(path)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with part.open("x", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(COLUMNS)
                for client, score, rank, why in self.rows():
                    writer.writerow((_no_formula(client), score, rank, _no_formula(why)))
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            raise SettingsError(f"{path}: cannot be written: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)

    def render(self, console: Console) -> None:
        """Print the criterion weights, then the first clients; fits 80 columns."""
        console.print(_weights_table(self.choice))
        console.print(_clients_table(list(islice(self.rows(), SHOWN))))
        left_out = len(self.choice.clients) - SHOWN
        mean = f"mean rank {self.ranks.mean():.2f}, {self.ranks.min()} to {self.ranks.max()}"
        console.print(Text(f"{len(self.choice.clients)} clients, {mean}"))
        if note := spread_note(self.choice.share):
            console.print(Text(note))
        if left_out > 0:
            console.print(Text(f"The first {SHOWN} are shown, {left_out} are left out."))


def plan(
    clients: object,
    *,
    r_min: int,
    r_max: int,
    budget: float | None = None,
    criterion_weights: CriterionWeights = "critic",
    cost_criteria: Sequence[str] = (),
    normalisation: Normalisation = "vector",
    spread: SpreadRule = "relative",
) -> Planned:
    """Choose ranks for the clients of a table with AutoRank.

    Args:
        clients: a CSV file, or a data frame of pandas, with the columns ``client``, the criteria
            and perhaps ``max_rank``; see ``read_clients``.
        r_min: smallest rank; a client's ``max_rank`` below it wins.
        r_max: largest rank.
        budget: the mean rank over clients, never exceeded; None for none.
        criterion_weights: ``"critic"``, ``"equal"`` or a weight by column name.
        cost_criteria: columns of which less means a higher rank.
        normalisation: see ``polyrank.mcda.topsis``.
        spread: see ``polyrank.allocators.autorank``.

    Raises:
        DataError: the file cannot be used; file, line, column and value are named.
        SettingsError: impossible ranks, weights or budget.
    """
    limits = Limits(
        {MODULE: ModuleRange(r_min, r_max, slot_parameters=1)},
        None if budget is None else Budget("mean_rank", budget),
    )
    if isinstance(clients, str | Path):
        table = read_clients(Path(clients))
    else:
        table = clients_of_frame(clients)
    choice = autorank(
        Evidence(table.clients, table.criteria),
        Limits(limits.modules, limits.budget, table.caps),
        criterion_weights=criterion_weights,
        cost_criteria=tuple(cost_criteria),
        normalisation=normalisation,
        spread=spread,
    )
    return Planned(choice)


def parse_weights(text: str) -> CriterionWeights:
    """Read ``critic``, ``equal`` or ``name=weight,name=weight`` from a command line.

    Raises:
        SettingsError: anything else.
    """
    if text in get_args(NamedWeights):
        return cast(NamedWeights, text)
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.rpartition("=")
        try:
            weights[name.strip()] = float(number)
        except ValueError:
            weights.clear()
        if not name.strip() or not weights:
            raise SettingsError(
                f"weights: expected 'critic', 'equal' or name=number,..., got {part!r} in {text!r}"
            )
    return weights


def _no_formula(text: str) -> str:
    """Keep spreadsheets from running a text, as OWASP says, "CSV Injection"; numbers stay.

    A carriage return becomes a line end, which the csv module puts in quotes.
    """
    if not (text.lstrip().startswith(_FORMULA) or text.startswith(("\t", "\r", "\n"))):
        return text.replace("\r", "\n")
    try:
        number = math.isfinite(float(text)) and "_" not in text
    except ValueError:
        number = False
    return text if number and text.isprintable() else "'" + text.replace("\r", "\n")


def _weights_table(choice: Choice) -> Table:
    table = Table(title="Criterion weights", title_justify="left")
    table.add_column("criterion", overflow="fold", max_width=60)
    table.add_column("weight", justify="right")
    for name, weight in choice.criterion_weights.items():
        table.add_row(_shown(name), f"{weight:.3f}")
    return table


def _clients_table(rows: list[tuple[str, float, int, str]]) -> Table:
    table = Table(title="Clients", title_justify="left")
    table.add_column("client", no_wrap=True, overflow="ellipsis", max_width=20)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for client, score, rank, why in rows:
        table.add_row(_shown(client), f"{score:.3f}", str(rank), _shown(why))
    return table


def _shown(text: str) -> Text:
    """Text from a file, without markup, in one line."""
    return Text(one_line(text))
