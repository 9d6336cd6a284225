import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from polyrank import cli
from polyrank.console import method_list
from polyrank.console.help_text import EXAMPLES
from polyrank.formats import VERSION
from polyrank.registry import Registry
from polyrank.settings import controls
from polyrank.settings import schema as settings
from polyrank.settings import toml as config
from tests.processes import started
from tests.small import small

ROOT = Path(__file__).parent.parent


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def polyrank(*words: str | Path) -> Done:
    """Run the command in this process, from the project's folder."""
    out, err = io.StringIO(), io.StringIO()
    code: str | int | None = None
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(ROOT)
        patch.setattr(sys, "argv", ["polyrank", *map(str, words)])
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
    return Done(int(code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    settings = folder / "small.toml"
    settings.write_text(config.dump_settings(small(rounds=2)))
    done = polyrank("run", settings, "--out", folder / "run")
    assert done.returncode == 0, done.stderr
    (folder / "said").write_text(done.stdout)
    return folder / "run"


def test_run_prints_rounds_a_table_and_where_everything_is(run_folder):
    said = (run_folder.parent / "said").read_text()
    assert "round 2/2  accuracy" in said
    assert "worst client" in said
    assert str(run_folder / "report.html") in said.replace("\n", "")
    table = [line for line in said.splitlines() if str(run_folder.parent) not in line]
    assert max(map(len, table)) <= 80


def test_json_is_the_summary_and_nothing_else(run_folder, tmp_path):
    done = polyrank("run", run_folder / "config.toml", "--json", "--out", tmp_path / "again")
    assert json.loads(done.stdout) == json.loads((run_folder / "summary.json").read_text())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["run"], 2, "settings file"),
        (["run", "none.toml"], 2, "none.toml: cannot be read"),
        (["run", "examples/digits.toml", "--set", "rouns=3"], 2, "did you mean 'rounds'"),
        (["run", "examples/digits.toml", "--set", "model.hiden=[3]"], 2, "mean 'hidden'"),
        (["run", "examples/digits.toml", "--set", "partition.concentration=1"], 2, "concentration"),
        (["run", "examples/digits.toml", "--set", "data=npz:none.npz"], 1, "none.npz"),
        (["run", "examples/digits.toml", "--set", "base=none.safetensors"], 2, "got nothing"),
        (["run", "examples/digits.toml", "--set", "base=examples"], 2, "got a folder"),
        (["run", "examples/digits.toml", "--set", "name="], 2, "a name for the run's folder"),
        (["run", "examples/digits.toml", "--set", "ranks.caps.ten=1"], 2, "no client 'ten'"),
        (["run", "examples/digits.toml", "--set", "ranks.budget=0.5"], 2, "budget of 0.5"),
        (["run", "examples/digits.toml", "--set", "ranks.modules.fc9.r_max=2"], 2, "'fc9'"),
        (["run", "examples/digits.toml", "--set", "model=no_such:model"], 2, "no_such"),
        (["run", "examples/digits.toml", "--control", "pool"], 2, "did you mean 'pooled'"),
        (["run", "--resume", "examples", "--control", "pooled"], 2, "with a settings file"),
        (["run", "--resume", "examples"], 1, "config.toml"),
        (["compare", "examples/digits.toml", "--seeds", "0;1"], 2, "whole numbers with commas"),
        (["compare", "examples/digits.toml", "--seeds", "1,1"], 2, "each once, got [1, 1]"),
        (["compare", "examples/digits.toml", "--vary", "aggregator"], 2, "KEY=VALUE,VALUE"),
        (["compare", "examples/digits.toml", "--flops", "1e9"], 2, "--megabytes together"),
        (["run", "examples/digits.toml", "--out", "README.md"], 1, "empty, got a file"),
        (["plan", "none.csv"], 1, "none.csv"),
        (["export", "examples", "--global", "--out", "x"], 1, "config.toml"),
        (["eval", "examples"], 1, "config.toml"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_bad_input_ends_with_its_code_one_message_and_nothing_left(words, code, said):
    before = set(ROOT.iterdir()) | set((ROOT / "runs").glob("*"))
    done = polyrank(*words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert set(ROOT.iterdir()) | set((ROOT / "runs").glob("*")) == before


def test_the_version_is_told():
    assert polyrank("--version").stdout == f"polyrank {VERSION}\n"


@pytest.mark.parametrize("command", sorted(EXAMPLES))
def test_every_help_ends_with_examples_that_parse_and_a_page_that_is_there(command):
    page, examples = EXAMPLES[command]
    said = polyrank(*([command] if command else []), "--help").stdout
    assert (ROOT / "docs" / page).is_file()
    assert f"docs/{page}" in said
    group = typer.main.get_command(cli.app)
    assert {"", *group.commands} == EXAMPLES.keys()
    for example in examples:
        assert example in said
        program, name, *words = shlex.split(example)
        assert (program, name) == ("polyrank", command or "run")
        group.commands[name].make_context(name, words).close()


def test_a_control_is_made_of_the_settings_as_they_were_changed(run_folder, tmp_path):
    path = run_folder.parent / "small.toml"
    words = ["--control", "alone", "--set", "training.epochs=2", "--out", tmp_path / "alone"]
    done = polyrank("run", path, *words)
    assert done.returncode == 0, done.stderr
    wanted = controls.control(config.load_settings(path, ["training.epochs=2"]), "alone")
    assert config.load_settings(tmp_path / "alone" / "config.toml") == wanted
    assert (wanted.name, wanted.training.epochs) == ("small-alone", 4)


def test_the_run_folder_and_a_first_line_are_there_before_torch_is_imported(tmp_path):
    """A module that stands in for torch and fails shows what was on the disk by then."""
    (tmp_path / "torch.py").write_text("raise SystemExit(7)")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "sys.argv = ['polyrank', 'run', 'examples/digits.toml', '--out', sys.argv[1]]\n"
        "from polyrank.cli import main; main()"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "r")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (7, "data and model\n")
    assert (tmp_path / "r" / "config.toml").exists()


@pytest.mark.parametrize("changed", ["data=none.npz", "base=none.safetensors"])
def test_a_file_that_is_not_there_is_told_before_torch_is_imported(tmp_path, changed):
    (tmp_path / "torch.py").write_text("raise SystemExit(7)")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        f"sys.argv = ['polyrank', 'run', 'examples/digits.toml', '--set', {changed!r}]\n"
        "from polyrank.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (1, 2)
    assert "got nothing" in done.stderr


def run_in_a_terminal(folder: Path) -> None:
    """Run the command in a group of processes of its own, with what it says in a file."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored under nohup
    said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):  # of its workers as well
        os.dup2(said, stream)
    os.chdir(ROOT)
    sys.argv = ["polyrank", "run", str(folder / "small.toml"), "--out", str(folder / "r")]
    cli.main()


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_stops_at_once_keeps_the_rounds_and_says_how_to_go_on(tmp_path, workers):
    """A terminal sends it to all processes of the command."""
    path = tmp_path / "small.toml"
    path.write_text(config.dump_settings(small(rounds=2000, workers=workers)))
    process = started(run_in_a_terminal, tmp_path)
    while not list(tmp_path.glob("r/checkpoint/round-0*[1-9].safetensors")):
        assert process.exitcode is None, (tmp_path / "said").read_text()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    process.join()  # far sooner than 2000 rounds take
    said = (tmp_path / "said").read_text()
    assert process.exitcode == 130
    assert f"polyrank run --resume {tmp_path / 'r'} --trust" in said  # its data are own code
    assert "Traceback" not in said
    assert not (tmp_path / "r" / "summary.json").exists()


def test_partition_shows_every_client(run_folder):
    done = polyrank("partition", "examples/digits.toml")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    shown = json.loads(polyrank("partition", "examples/digits.toml", "--json").stdout)
    assert len(shown["clients"]) == 10


def test_plan_gives_ranks_and_reasons(tmp_path):
    clients = tmp_path / "clients.csv"
    clients.write_text("client,label_count,sample_count,max_rank\na,1,50,\nb,5,900,32\nc,3,100,8\n")
    words = ["plan", clients, "--r-min", "4", "--r-max", "64", "--budget", "20"]
    done = polyrank(*words, "--json", "--out", tmp_path / "ranks.csv")
    assert done.returncode == 0, done.stderr
    planned = json.loads(done.stdout)
    assert set(planned) == {"criterion_weights", "rank_spread", "scores", "ranks"}
    assert sum(planned["ranks"].values()) <= 60
    assert planned["ranks"]["c"] <= 8
    assert (tmp_path / "ranks.csv").read_text().startswith("client,score,rank,reason\n")


def test_eval_repeats_the_run_s_own_accuracy(run_folder):
    metrics = json.loads(polyrank("eval", run_folder, "--json", "--trust").stdout)
    summary = json.loads((run_folder / "summary.json").read_text())
    assert metrics["accuracy"] == summary["accuracy"]["final"]
    assert metrics["loss"] == pytest.approx(summary["loss"]["final"], rel=1e-6)


def test_eval_of_data_that_do_not_fit_says_so(run_folder, tmp_path):
    import numpy as np

    np.savez(tmp_path / "d.npz", train_x=np.zeros((30, 3), np.float32), train_y=np.arange(30) % 3)
    done = polyrank("eval", run_folder, "--data", f"npz:{tmp_path / 'd.npz'}")
    assert done.returncode == 1
    assert "(3,)" in done.stderr


def test_report_of_a_run(run_folder, tmp_path):
    done = polyrank("report", run_folder, "--out", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.html").exists()


def test_the_installed_command_runs_as_a_module_of_its_own():
    command = Path(sys.executable).with_name("polyrank")
    done = subprocess.run([command, "--help"], capture_output=True, text=True, check=True)
    for name in ("run", "plan", "partition", "export", "eval", "report", "list"):
        assert f" {name} " in done.stdout


def test_list_names_every_method_with_what_it_does():
    said = CliRunner().invoke(cli.app, ["list"]).output
    for table in method_list.TABLES:
        for entry in method_list.methods(table):
            assert entry.name in said
            assert entry.does.endswith("."), entry


def test_list_has_every_table_from_which_the_settings_take_methods():
    named = {value.kind for value in vars(settings).values() if isinstance(value, Registry)}
    assert "server optimizer" in named
    assert named <= {table.kind for table in method_list.TABLES}


def test_the_package_is_a_command_too():
    done = subprocess.run(
        [sys.executable, "-m", "polyrank", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"polyrank {VERSION}\n")
