"""The table of a comparison in words: for a terminal, as Markdown, as LaTeX."""

from collections.abc import Callable, Sequence
from typing import Any

from polyrank.comparing.rows import Row
from polyrank.intervals import Interval
from polyrank.report.paired import shown_interval
from polyrank.report.words import NOTHING, duration, number, size
from polyrank.report.yardstick import ACCURACY, PERPLEXITY, Yardstick

LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"±": r"$\pm$", NOTHING: "--"},
}


def table(rows: Sequence[Row], target: float | None) -> tuple[list[str], list[list[str]]]:
    """Return the heads of the columns, and a row of texts for each arm; what nothing has is out.

    Args:
        rows: of the arms.
        target: on validation rows, for the head.
    """
    judged = PERPLEXITY if any("perplexity" in row for row in rows) else ACCURACY
    until = f" to {judged.show(target)}" if target is not None else ""
    columns: list[tuple[str, Callable[[Row], str]]] = [
        ("arm", lambda row: str(row["arm"])),
        ("seeds", _seeds),
        (judged.metric, lambda row: _mean(row, judged)),
        (f"difference{'' if judged.falls else ', points'}", lambda row: _difference(row, judged)),
        ("worst client", _told("worst_client", judged.show)),
        ("own models", _told("own_models", judged.show)),
        (f"runs{until}", _reaching),
        (f"rounds{until}", _told("rounds_to_target", number)),
        (f"bytes{until}", _told("bytes_to_target", size)),
        ("bytes in all", _told("bytes", size)),
        ("learning rate", _told("learning_rate", lambda rate: f"{rate:g}")),
        ("time here", _told("seconds", duration)),
        ("time on devices", _told("federated_seconds", duration)),
        (f"on devices{until}", _told("federated_seconds_to_target", duration)),
    ]
    texts = [[show(row) for row in rows] for _, show in columns]
    kept = [at for at, of in enumerate(texts) if at < 3 or any(of)]
    return [columns[at][0] for at in kept], [
        [texts[at][i] for at in kept] for i in range(len(rows))
    ]


def as_markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table for GitHub and the like."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "".join(f"| {' | '.join(_markdown(text) for text in line)} |\n" for line in lines)


def as_latex(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table for LaTeX with the package booktabs."""
    lines = [" & ".join(map(_latex, line)) + r" \\" for line in (heads, *rows)]
    begin = f"\\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}"
    inner = [r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
    return "\n".join([begin, *inner, r"\end{tabular}"]) + "\n"


def _seeds(row: Row) -> str:
    failed = row.get("failed")
    return f"{row['seeds']}" + (f", {failed} failed" if failed else "")


def _mean(row: Row, judged: Yardstick) -> str:
    mean, spread = row.get(judged.metric), row.get(f"{judged.metric}_sd")
    if mean is None:
        return ""
    if spread is None:
        return judged.show(mean)
    return f"{judged.show(mean)} ± " + (f"{spread:.2f}" if judged.falls else f"{100 * spread:.1f}")


def _difference(row: Row, judged: Yardstick) -> str:
    if row.get("difference") is None:
        return ""
    ends = row["difference_low"], row["difference_high"]
    found = Interval(row["difference"], *ends, row["pairs"])
    return shown_interval(found, judged).replace(" points", "")


def _told(name: str, show: Callable[[Any], str]) -> Callable[[Row], str]:
    return lambda row: "" if row.get(name) is None else show(row[name])


def _reaching(row: Row) -> str:
    return f"{row['reach_target']} of {row['seeds']}" if row.get("reach_target") else ""


def _markdown(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)
