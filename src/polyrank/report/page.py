"""The page: run folders in, one HTML file out."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from polyrank.errors import RunFolderError
from polyrank.report.arms import Arm, arms_of, run_names
from polyrank.report.clients import clients
from polyrank.report.comparison import Asked, comparison
from polyrank.report.cost import cost
from polyrank.report.document import SERVED, Link, document
from polyrank.report.facts import facts
from polyrank.report.markup import data_of, escape, section
from polyrank.report.outcome import outcome
from polyrank.report.parts import Figure, Section
from polyrank.report.ranks import ranks
from polyrank.report.reading import Run, read_run
from polyrank.report.trouble import trouble
from polyrank.report.words import plural

SECTIONS = (outcome, cost, ranks, clients, trouble)
Placed = tuple[str, Section]  # the prefix of its ids, the section


def write_report(folders: Sequence[str | Path], out: str | Path) -> Path:
    """Write one page about the runs in ``folders`` to ``out``; it appears whole or not at all.

    Raises:
        RunFolderError: a folder holds no readable run, or ``out`` cannot be written.
    """
    return _written(build([read_run(Path(folder)) for folder in folders]), Path(out))


def write_comparison(arms: Sequence[Arm], asked: Asked, out: str | Path) -> Path:
    """Write a page that compares arms, without the pages of their runs; it appears as a whole.

    Args:
        arms: with their finished runs, the one that the others are compared with first.
        asked: what is shown beside them.
        out: the file.

    Raises:
        RunFolderError: ``out`` cannot be written.
    """
    runs = [run for arm in arms for run in arm.runs]
    if runs:
        part = comparison(runs, run_names(runs, arms), arms, asked)
    else:
        part = Section("comparison", "How do the runs compare?", "No run has ended.", asked.parts)
    main, title = _sections([("", part)], 2), f"Comparison of {plural(len(arms), 'arm')}"
    return _written(document(title, "", [], main, _content([("", part)])), Path(out))


def _written(text: str, out: Path) -> Path:
    page = text.encode()
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(page)
        unfinished.replace(out)
    except OSError as error:
        raise RunFolderError(f"cannot write the report {out}: {error}") from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return out


def build(runs: Sequence[Run]) -> str:
    """Return the page about one run, or the page that compares several.

    Raises:
        RunFolderError: ``runs`` is empty.
    """
    if not runs:
        raise RunFolderError("expected at least one run to report on, got none")
    groups = [[(f"run{index}-", make(run)) for make in SECTIONS] for index, run in enumerate(runs)]
    placed = [item for group in groups for item in group]
    if len(runs) == 1:
        main = _sections(placed, 2) + _settings(runs[0])
        return document(runs[0].name, facts(runs[0]), _links(placed), main, _content(placed))
    arms = arms_of(runs)
    names = run_names(runs, arms)
    first = [("", comparison(runs, names, arms))]
    links = [(part.key, "Comparison") for _, part in first] + _run_links(names)
    main = _sections(first, 2) + "".join(
        _run(run, link, group) for run, link, group in zip(runs, links[1:], groups, strict=True)
    )
    title = f"Comparison of {plural(len(runs), 'run')}"
    return document(title, "", links, main, _content([*first, *placed]))


def build_live(run: Run, version: str) -> str:
    """Return the page about a run, finished or not, for a server that keeps it up to date.

    The page asks its server's ``/version`` and swaps in what is new when that is not ``version``.
    """
    if not run.rounds:
        text = "Nothing has been measured yet. This page fills as soon as there is something."
        return build_notice(run.name, "The run is starting", text, version, _settings(run))
    placed = [("run0-", make(run)) for make in SECTIONS]
    figures, data = _figures(placed), _data(placed)
    for figure in figures.values():  # plotly.js keeps a reader's zoom while this stays the same
        figure["layout"] = {**figure["layout"], "uirevision": "live"}
    content = {"figures": figures, "data": data, "version": version}
    main = _sections(placed, 2) + _settings(run)
    return document(run.name, facts(run), _links(placed), main, content, SERVED)


def build_notice(name: str, title: str, text: str, version: str, more: str = "") -> str:
    """Return a page that a server keeps up to date, with one sentence; ``more`` is HTML."""
    main = section(Section("notice", title, text, []), "", 2) + more
    content = {"figures": {}, "data": {}, "version": version}
    return document(name, "", [], main, content, SERVED)


def _links(placed: Iterable[Placed]) -> list[Link]:
    return [(f"{prefix}{part.key}", part.title) for prefix, part in placed]


def _sections(placed: Iterable[Placed], level: int) -> str:
    return "".join(section(part, prefix, level) for prefix, part in placed)


def _run_links(names: Sequence[str]) -> list[Link]:
    return [(f"run{index}", name) for index, name in enumerate(names)]


def _run(run: Run, link: Link, group: Iterable[Placed]) -> str:
    key, name = link
    heading = f'<summary><h2 id="{key}">{escape(name)}</h2></summary>'
    return f'<details class="run">{heading}{_sections(group, 3)}{_settings(run)}</details>\n'


def _settings(run: Run) -> str:
    if not run.settings:
        return ""
    return (
        '<details class="settings"><summary>Settings of this run (config.toml)</summary>'
        f'<pre tabindex="0">{escape(run.settings)}</pre></details>\n'
    )


def _content(placed: Sequence[Placed]) -> object:
    return {"figures": _figures(placed), "data": _data(placed)}


def _figures(placed: Sequence[Placed]) -> dict[str, dict[str, Any]]:
    return {
        f"{prefix}{figure.key}": {"traces": figure.traces, "layout": figure.layout}
        for prefix, part in placed
        for figure in part.parts
        if isinstance(figure, Figure)
    }


def _data(placed: Sequence[Placed]) -> object:
    return {
        key: {"columns": found.columns, "rows": found.rows}
        for prefix, part in placed
        for key, found in data_of(part.parts, prefix).items()
    }
