"""New processes import the script that starts them: it must not start again in each."""

import sys

import pytest

import polyrank
from polyrank.errors import SettingsError
from tests.small import small


@pytest.fixture
def unguarded(monkeypatch, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import polyrank\npolyrank.run('mine.toml')\n")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
    return script


CALLS = {
    "workers = 2": lambda out: polyrank.run(small(workers=2), out=out),
    "polyrank.compare": lambda out: polyrank.compare(small(), out=out, seeds=1, controls=False),
}


@pytest.mark.parametrize("asked", CALLS)
def test_a_script_that_would_start_again_is_an_error_before_anything_starts(
    unguarded, tmp_path, asked
):
    with pytest.raises(SettingsError, match=rf"{asked} needs .*script\.py: .*no such line"):
        CALLS[asked](tmp_path / "out")
    unguarded.unlink()
    with pytest.raises(SettingsError, match=rf"{asked} needs .*script\.py: .*no such file"):
        CALLS[asked](tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_so_it_is_where_a_run_goes_on(unguarded, tmp_path):
    polyrank.run(small(rounds=1, workers=1), out=tmp_path / "out")
    with pytest.raises(SettingsError, match=r"workers = 2 needs"):
        polyrank.resume(tmp_path / "out", overrides=["rounds=2", "workers=2"], trust=True)
    assert (
        polyrank.resume(tmp_path / "out", overrides=["rounds=2"], trust=True).summary["rounds"] == 2
    )
