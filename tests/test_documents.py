"""What README and the examples say is what happens."""

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import claim
import pytest
import verdict_table

from polyrank import load_settings
from polyrank.planning.rank_plan import plan
from tests.commands import command
from tests.printed import shown_is_printed

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_readme_s_first_python_runs_and_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(blocks("python")[0], {"__name__": "readme"})
    (shown,) = blocks("text")
    shown_is_printed(shown, capsys.readouterr().out, "README.md", vary=True)
    assert (tmp_path / "runs" / "first" / "report.html").exists()


def test_readme_s_commands_run(tmp_path, monkeypatch):
    """In a folder with nothing but the examples."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    (session,) = blocks("console")
    commands = [line.removeprefix("$ ") for line in session.splitlines() if line[:2] == "$ "]
    assert len(commands) == 2
    for line in commands:
        shown = session.partition(f"$ {line}\n")[2].partition("$ ")[0]
        shown_is_printed(f"...\n{shown}", command(line, 0), line, vary=True)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_valid_settings(example):
    assert load_settings(example).name == example.stem


def test_readme_is_short_and_its_links_lead_somewhere():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.encode()) <= 6144
    targets = re.findall(r"\]\(([^)#\s]+)", text)
    assert len(targets) > 15
    assert not [target for target in targets if not (ROOT / target).exists()]


def test_a_verdict_is_what_its_row_says():
    """A gain is what the interval puts above 0; of perplexity less is a gain."""
    up = ("a", [3.0, 4.0, 5.0], [1.0, 2.2, 2.8], False)
    assert verdict_table.cells(up)[3:] == ("+2.0 (+1.7 to +2.3)", "**they help**")
    falls = (*up[:3], True)
    assert verdict_table.cells(falls)[-1] == "**they hurt**"
    level = ("a", [1.0, 3.0], [2.0, 1.0], False)
    assert verdict_table.cells(level)[3:] == ("+0.5 (-9.0 to +10.0)", "**no difference**")


def test_a_claim_holds_only_where_its_interval_says_so():
    """Three seeds ahead, three behind, three of both kinds; with a cost that is allowed."""
    ahead, behind, both = ([1.0, 1.1, 1.2], [-1.0, -1.1, -1.2], [-1.0, 0.0, 1.2])
    places = [claim.Place(n, of) for n, of in zip("abc", (ahead, behind, both), strict=True)]
    said = [claim.Claim("", "", [place]) for place in places]
    assert [claim.verdict for claim in said] == ["holds", "does not hold", "not shown"]
    assert claim.Claim("", "", places).verdict == "holds at 1 of 3"
    assert claim.Claim("", "", places[:2], cost=1.5).verdict == "holds"
    whole = claim.Claim("says", "paper", places)
    assert whole.row == ("says (paper)", "**holds at 1 of 3**", "-1.1 to +1.1", "1, 1, 1")
    assert whole.place_rows[1] == ("says", "b", "3", "-1.1 (-1.3 to -0.9)", "no")


def test_the_planning_example_keeps_its_budget_and_caps():
    planned = plan(ROOT / "examples" / "clients.csv", r_min=4, r_max=64, budget=24)
    ranks = dict(zip(planned.choice.clients, planned.ranks.tolist(), strict=True))
    assert sum(ranks.values()) <= 24 * 6
    assert ranks["phone-f"] <= 8
    assert max(ranks, key=ranks.__getitem__) == "hospital-c"


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_examples_run_and_print(script, tmp_path, monkeypatch, capsys):
    """As ``python examples/NAME.py`` does, but for a process of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(script.parent), *sys.path])
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out.strip()
    assert len(script.read_text().splitlines()) < 60


def test_the_results_of_readme_and_docs_are_what_the_result_files_give():
    command = [sys.executable, str(ROOT / "scripts" / "figures.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
