"""Folders that somebody else made run nothing of their own unless a person says so."""

import shutil
import sys
from pathlib import Path

import pytest

import polyrank
from polyrank.cli import main
from polyrank.errors import RunFolderError
from polyrank.report import write_report
from polyrank.runs.evaluation import evaluate
from polyrank.runs.export import export
from polyrank.settings.schema import Settings
from polyrank.settings.trust import own_code
from tests.small import small

PLANTED = "subprocess:Popen"
KEYS = ["partition", "model", "allocator", "aggregator", "server_optimizer", "head_init", "data"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run that names built-in methods only."""
    data = {"source": "digits", "test": 0.5}
    return polyrank.run(
        small(data=data, rounds=1), out=tmp_path_factory.mktemp("trust") / "run"
    ).folder


@pytest.fixture
def planted(run, tmp_path, monkeypatch):
    """Return a function that names code in a copy of the run; it writes a marker if it runs."""
    marker = tmp_path / "marker"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    evil = f"from pathlib import Path\nPath({str(marker)!r}).touch()\ndef run(*a, **k): pass\n"
    Path("evil_module.py").write_text(evil)

    def plant(key: str, name: str = PLANTED, **changes: object) -> Path:
        folder = tmp_path / "planted"
        shutil.copytree(run, folder)
        options = {"args": ["touch", str(marker)]} if name == PLANTED else {}
        settings = polyrank.load_settings(folder / "config.toml").model_dump(exclude_none=True)
        settings |= changes
        settings[key] = [name] if key == "criteria" else {"kind": name, **options}
        if key == "data":
            settings[key] = {"source": name, **options}
        (folder / "config.toml").write_text(
            polyrank.settings.toml.dump_settings(polyrank.make_settings(settings))
        )
        return folder

    yield plant
    assert not marker.exists()
    assert "evil_module" not in sys.modules


@pytest.mark.parametrize("name", [PLANTED, "evil_module:run"])
@pytest.mark.parametrize("key", [*KEYS, "criteria"])
def test_resume_imports_no_code_that_a_folder_names(planted, key, name):
    folder = planted(key, name)
    with pytest.raises(RunFolderError, match=rf"{key} = '{name}'.*--resume {folder} --trust"):
        polyrank.resume(folder, overrides=["rounds=2"])


@pytest.mark.parametrize("name", [PLANTED, "evil_module:run"])
@pytest.mark.parametrize("key", ["model", "data"])
def test_eval_imports_neither_model_nor_data_that_a_folder_names(planted, key, name):
    folder = planted(key, name)
    with pytest.raises(RunFolderError, match=rf"{key} = '{name}'.*eval {folder} --trust"):
        evaluate(folder)


@pytest.mark.parametrize("name", [PLANTED, "evil_module:run"])
def test_export_imports_no_model_that_a_folder_names(planted, tmp_path, name):
    folder = planted("model", name)
    said = rf"model = '{name}'.*export --client 1 --out {tmp_path / 'out'} {folder} --trust"
    with pytest.raises(RunFolderError, match=said):
        export(folder, tmp_path / "out", client="1")
    assert not (tmp_path / "out").exists()


def test_what_is_not_called_needs_no_word(planted, tmp_path):
    folder = planted("aggregator", "evil_module:run")
    assert export(folder, tmp_path / "out").exists()
    assert evaluate(folder)["rows"] > 0


@pytest.mark.parametrize("key", ["allocator", "aggregator"])
def test_what_a_scaling_by_rank_asks_of_methods_needs_a_word(planted, tmp_path, key):
    folder = planted(key, "evil_module:run", adapter={"scaling": {"per": "rank"}})
    for use in (lambda: export(folder, tmp_path / "out"), lambda: evaluate(folder)):
        with pytest.raises(RunFolderError, match=rf"{key} = 'evil_module:run'.* --trust"):
            use()


@pytest.mark.parametrize("key", [*KEYS, "criteria"])
def test_report_imports_no_code_at_all(planted, key):
    folder = planted(key, "evil_module:run")
    assert write_report([folder], folder / "new.html").exists()


def test_the_command_line_shows_the_names_and_how_to_trust(planted, capsys, monkeypatch):
    folder = planted("model")
    for words in (["run", "--resume"], ["eval"], ["export", "--global", "--out", "x"]):
        monkeypatch.setattr(sys, "argv", ["polyrank", *words, str(folder)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 1
        said = capsys.readouterr().err
        assert f"model = '{PLANTED}'" in said
        assert "--trust" in said


def test_a_run_of_one_s_own_code_goes_on_when_trusted(tmp_path):
    polyrank.run(small(rounds=1), out=tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"data = 'tests\.small:tiny_digits'"):
        polyrank.resume(tmp_path / "run", overrides=["rounds=2"])
    done = polyrank.resume(tmp_path / "run", overrides=["rounds=2"], trust=True)
    assert done.summary["rounds"] == 2


def test_one_name_at_two_keys_is_found_at_both():
    twice = Settings.model_validate({"model": PLANTED, "aggregator": PLANTED})
    assert own_code(twice) == [("model", PLANTED), ("aggregator", PLANTED)]


def test_an_entry_point_of_an_installed_package_is_not_ours(monkeypatch):
    from polyrank.aggregators import AGGREGATORS

    monkeypatch.setitem(AGGREGATORS.__dict__, "entries", {**AGGREGATORS.own, "theirs": "a:b"})
    assert own_code(small(aggregator="theirs"))[-1] == ("data", "tests.small:tiny_digits")
    assert ("aggregator", "theirs") in own_code(small(aggregator="theirs"))


def test_built_in_methods_need_no_word():
    assert own_code(Settings.model_validate({})) == []
    assert own_code(small(data=["a.csv", "csv:b.csv"])) == []
