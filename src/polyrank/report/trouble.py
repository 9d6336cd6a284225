"""What went wrong: updates that were refused and clients that failed."""

from polyrank.report.charts import bar, gap, round_axis
from polyrank.report.parts import Cell, Column, CsvData, Figure, Section, Sheet, Trace
from polyrank.report.reading import Run
from polyrank.report.words import plural


def trouble(run: Run) -> Section:
    """Build the section on refused updates and failed clients."""
    title = "What went wrong?"
    refused = sum(len(record.refused) for record in run.rounds)
    failed = sum(len(record.failed) for record in run.rounds)
    if not refused and not failed:
        text = "Nothing was refused and nothing failed."
        return Section("trouble", title, text, [])
    lead = (
        f"{plural(refused, 'update')} refused, {plural(failed, 'failure')} of a client;"
        " the other clients of those rounds went on."
    )
    return Section("trouble", title, lead, [_figure(run), _sheet(run)])


def _figure(run: Run) -> Figure:
    x = [record.round for record in run.rounds]
    refused = [len(record.refused) for record in run.rounds]
    failed = [len(record.failed) for record in run.rounds]
    layout: Trace = {
        "barmode": "stack",
        "bargap": gap(len(x)),
        "hovermode": "x unified",
        "xaxis": round_axis(x[-1]),
        "yaxis": {"title": {"text": "clients"}, "rangemode": "tozero", "tickformat": ",d"},
    }
    return Figure(
        "trouble",
        "Refused and failed by round",
        "How many updates the server refused, and how many clients failed, in each round.",
        [bar("Refused", x, refused, 5), bar("Failed", x, failed, 1)],
        layout,
        CsvData(["round", "refused", "failed"], list(zip(x, refused, failed, strict=True))),
        wide=True,
        height=260,
    )


def _sheet(run: Run) -> Sheet:
    rows: list[list[Cell]] = [
        [record.round, rejection.client, what, rejection.reason]
        for record in run.rounds
        for what, rejections in (("refused", record.refused), ("failed", record.failed))
        for rejection in rejections
    ]
    columns = [Column("Round"), Column("Client"), Column("What"), Column("Why", prose=True)]
    return Sheet("rejections", "Every refused update and failed client", columns, rows)
