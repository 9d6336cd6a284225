"""What a finished run prints, and which columns are left out, there and in the report."""

import io

import pytest
from rich.console import Console

import polyrank
from polyrank.console.result_table import render
from polyrank.record.run_folder import RunFolder
from polyrank.report import write_report
from polyrank.report.clients import clients
from polyrank.report.parts import Figure
from polyrank.report.reading import read_run
from tests.small import small
from tests.written import lines_in


@pytest.fixture(scope="module")
def nothing_held_out(tmp_path_factory):
    """A run without validation rows and without test rows of the clients' own."""
    data = {"source": "tests.small:tiny_digits", "client_test": 0, "validation": 0}
    settings = small(rounds=1, data=data, allocator="uniform")
    return polyrank.run(settings, out=tmp_path_factory.mktemp("table") / "run")


def printed(result) -> list[str]:
    file = io.StringIO()
    render(result.folder, Console(file=file, width=80))
    return file.getvalue().splitlines()


def test_a_column_that_holds_nothing_is_not_printed(nothing_held_out):
    title, head, *rows = printed(nothing_held_out)
    assert title == "Ranks by module"
    assert head.split() == ["client", "examples", "labels", "fc1", "fc2"]
    assert [len(row.split()) for row in rows[:4]] == [5] * 4
    assert not any(line.startswith("worst client") for line in rows)


def test_a_run_with_scores_and_own_rows_has_all_columns(tmp_path):
    title, head, *_ = printed(polyrank.run(small(rounds=1), out=tmp_path / "run"))
    assert title == "Ranks by module; accuracy on the client's own test rows"
    names = ["client", "examples", "labels", "score", "fc1", "fc2", "global", "own", "why"]
    assert head.split() == names


def test_the_last_column_says_what_moved_a_score_most_and_what_held_the_rank(tmp_path):
    result = polyrank.run(
        small(rounds=1, ranks={"caps": dict.fromkeys("012", 2)}), out=tmp_path / "run"
    )
    lines = lines_in(RunFolder(result.folder), "clients")
    profiles = [line for line in lines if line["event"] == "profile"]
    rows = {line.split()[0]: line for line in printed(result)[2:6]}
    for profile in profiles:
        moved = profile["contributions"]
        most = max(moved, key=lambda name: abs(moved[name]))
        sign = "+" if moved[most] > 0 else "-"
        assert f" {sign}{most}" in rows[profile["client"]]
        assert (", cap" in rows[profile["client"]]) == ("held by its cap" in profile["reason"])
    assert any(", cap" in row for row in rows.values())


def test_a_reason_that_all_clients_share_is_told_once(nothing_held_out):
    said = [line for line in printed(nothing_held_out) if line.startswith("why: ")]
    assert len(said) == 1
    assert "uniform" in said[0] or "same" in said[0]


def test_nor_is_it_in_the_report(nothing_held_out, tmp_path):
    folder = nothing_held_out.folder
    page = write_report([folder, folder], tmp_path / "page.html").read_text(encoding="utf-8")
    assert ">Why</button>" in page
    assert "The same in all: " in page
    for title in ("Worst client", "Personal adapters, own rows", "Score", "Cap"):
        assert f">{title}</button>" not in page
    section = clients(read_run(folder))
    (sizes,) = (p for p in section.parts if isinstance(p, Figure) and p.key == "sizes")
    assert [trace["name"] for trace in sizes.traces] == ["Training"]
