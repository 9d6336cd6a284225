"""A user's own function that raises is told with its place, by whatever process it raised in."""

import sys

import pytest

from polyrank import cli
from polyrank.causes import own_place, told
from polyrank.errors import SettingsError
from polyrank.settings import toml as config
from tests.small import small

ROWS = """
def rows(argument):
    raise OSError("the share is not mounted")
"""
MODEL = """
import multiprocessing
from polyrank.models.mlp import mlp
def build(*, input_shape: tuple[int, ...], classes: int):
    if multiprocessing.parent_process():
        raise MemoryError("no room for a second one")
    return mlp(input_shape=input_shape, classes=classes)
"""


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run the command in a folder that has a module of the user's own; return code and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(module, text, **settings):
        (tmp_path / f"{module}.py").write_text(text)
        (tmp_path / "mine.toml").write_text(config.dump_settings(small(rounds=1, **settings)))
        monkeypatch.setattr(sys, "argv", ["polyrank", "run", "mine.toml", "--quiet"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        sys.modules.pop(module, None)  # another test may have one of that name
        assert not (tmp_path / "runs").exists()
        return ended.value.code, capsys.readouterr().err

    return run


def test_errors_of_ours_and_of_installed_packages_have_no_place():
    with pytest.raises(SettingsError) as ours:
        small(rounds=-1)
    assert told(ours.value).startswith("SettingsError: settings: rounds")
    with pytest.raises(ZeroDivisionError) as mine:
        int(str(1 / len("")))
    assert own_place(mine.value).startswith(f"{__file__}, line ")


def test_a_loader_of_one_s_own_that_raises_is_told_with_its_place(command, tmp_path):
    code, said = command("my_rows", ROWS, data="my_rows:rows")
    place = f"{tmp_path / 'my_rows.py'}, line 3, in rows"
    assert (code, said) == (1, f"polyrank: OSError: the share is not mounted ({place})\n")


def test_a_module_that_is_no_python_is_told_with_its_place(command, tmp_path):
    code, said = command("my_typo", "def build(:\n", model="my_typo:build")
    assert code == 1
    assert said.startswith("polyrank: SyntaxError: ")
    assert f"{tmp_path / 'my_typo.py'}, line 1" in said


@pytest.mark.parametrize("workers", [1, 2])
def test_a_gpu_that_is_not_there_is_told_before_anything_starts(command, workers, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, said = command("my_rows", ROWS, device="cuda", workers=workers)
    assert code == 2
    assert said == "polyrank: device = 'cuda': torch sees no GPU here; use 'auto' or 'cpu'\n"


def test_a_model_that_fails_in_a_worker_is_told_as_if_there_were_none(command, tmp_path):
    code, said = command("my_model", MODEL, model="my_model:build", workers=2)
    place = f"{tmp_path / 'my_model.py'}, line 6, in build"
    assert (code, said) == (1, f"polyrank: MemoryError: no room for a second one ({place})\n")
