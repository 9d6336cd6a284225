import importlib.util

import pytest

import polyrank
from polyrank.errors import SettingsError
from tests.small import small


def tracked(name, tmp_path):
    return polyrank.run(small(rounds=1, trackers=[name]), out=tmp_path / "tracked")


def test_tensorboard_gets_the_metrics_and_changes_no_bit(tmp_path):
    plain = polyrank.run(small(rounds=1), out=tmp_path / "plain")
    run = tracked("tensorboard", tmp_path)
    assert run.summary == plain.summary
    events = list((run.folder / "trackers").rglob("events*"))
    assert events
    assert b"test/accuracy" in events[0].read_bytes()


def test_mlflow_gets_the_metrics_and_the_settings(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    run = tracked("mlflow", tmp_path)
    (found,) = mlflow.search_runs(experiment_names=["polyrank"], output_format="list")
    assert found.info.run_name == "small"
    assert found.data.metrics["test/accuracy"] == run.summary["accuracy"]["final"]
    assert found.data.params["training.batch_size"] == "16"


def test_weights_and_biases_gets_the_metrics_without_a_network(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = tracked("wandb", tmp_path)
    (log,) = (run.folder / "trackers").rglob("*.wandb")
    assert b"test/accuracy" in log.read_bytes()


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_tracker_that_is_not_installed_is_answered(name, tmp_path):
    if importlib.util.find_spec(name):
        pytest.skip(f"{name} is installed")
    with pytest.raises(SettingsError, match=f"trackers: '{name}' needs: pip install {name}"):
        tracked(name, tmp_path)
    assert not (tmp_path / "tracked").exists()
