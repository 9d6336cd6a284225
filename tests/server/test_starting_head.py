"""Where a head is made by default, what a run says of it, and what it changes."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import polyrank
from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import ServerModel
from polyrank.console.progress import Silent
from polyrank.disk.checkpoint import load_tensors
from polyrank.errors import TrainingError
from polyrank.head_inits import HEAD_INITS
from polyrank.head_inits.feature_sums import packed
from polyrank.head_inits.head_init import FeatureSums
from polyrank.protocol.messages import Measured
from polyrank.runs.export import export
from polyrank.runs.preparation import prepare
from polyrank.server.measuring import Measuring
from polyrank.server.rules import Rules
from polyrank.server.starting_head import StartingHead, has_new_head, starting_head
from polyrank.server.state import ServerState
from polyrank.settings.schema import Settings
from polyrank.settings.toml import load_settings, make_settings
from tests.small import small
from tests.texts import model_path, needs_demo, text_settings
from tests.whole_runs import contents

OWNERS = {"partition": {"kind": "pathological", "clients": 3, "labels_per_client": 1}}


class Notes(Silent):
    """Keeps the lines that a run prints."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def made_by(settings: Settings) -> str | None:
    """Return how the head of a run is made."""
    prepared = prepare(settings, None)
    extras, classes = prepared.server.extras, prepared.server.blueprint.classes
    new = has_new_head(extras, classes, prepared.server.drawn)
    head = starting_head(settings, extras, classes, new=new)
    return head and head.by.name


def run(settings: Settings, folder: Path) -> tuple[dict[str, Any], list[str]]:
    watcher = Notes()
    summary = dict(polyrank.run(settings, out=folder, watcher=watcher).summary)
    return summary, watcher.lines


@needs_demo
def test_where_every_label_has_one_owner_the_default_knows_them_all(tmp_path):
    training = {"epochs": 3, "batch_size": 8, "learning_rate": 0.005}
    settings = text_settings(tmp_path, rounds=2, training=training, **OWNERS)
    summary, said = run(settings, tmp_path / "auto")
    without = make_settings({**settings.model_dump(), "head_init": "none"})
    drawn, warned = run(without, tmp_path / "none")
    assert (summary["head_init"], drawn["head_init"]) == ("lda", "none")
    assert summary["accuracy"]["final"] > 0.8 > drawn["accuracy"]["final"] + 0.2
    d, labels = 384, 3
    sent = 8 * (labels + d + d * (d + 1) // 2) / 1000  # counts, one sum, products
    (line,) = [x for x in said if "head" in x]
    assert line == (
        f"the head starts from sums of features (lda): each client sends up to {sent:.1f} kB "
        "once: label counts and sums of features"
    )
    (warning,) = [x for x in warned if "head" in x]
    assert warning.startswith("warning: labels are skewed (67 % of")
    assert 'head_init = "lda"' in warning


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """The folder of a run that says nothing of its head."""
    top = tmp_path_factory.mktemp("plain")
    return polyrank.run(text_settings(top, allocator="uniform"), out=top / "run").folder


@needs_demo
def test_auto_is_lda_to_the_bit(tmp_path, plain):
    settings = load_settings(plain / "config.toml")
    assert settings.head_init.kind == "auto"
    lda = make_settings({**settings.model_dump(), "head_init": "lda"})
    polyrank.run(lda, out=tmp_path / "lda")
    auto, said = contents(plain), contents(tmp_path / "lda")
    assert auto.pop("config.toml") != said.pop("config.toml")
    states = [name for name in auto if "/round-" in name]  # they hold the settings as well
    assert len(states) == 2
    for name in states:
        (mine, _), (theirs, _) = (load_tensors(f / name) for f in (plain, tmp_path / "lda"))
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(tensor, theirs[n]) for n, tensor in mine.items())
        del auto[name], said[name]
    assert auto == said


@needs_demo
def test_a_run_that_was_killed_before_its_first_state_makes_the_head(tmp_path, plain):
    killed = tmp_path / "killed"
    shutil.copytree(plain, killed)
    (killed / "summary.json").unlink()
    for path in (killed / "checkpoint").glob("[hr]*.safetensors"):  # the head, and the state
        path.unlink()
    polyrank.resume(killed)
    assert contents(killed) == contents(plain)


@needs_demo
def test_true_counts_stay_where_noise_is_asked_for(tmp_path):
    settings = text_settings(tmp_path, probe={"epsilon": 10}, allocator="uniform", **OWNERS)
    summary, said = run(settings, tmp_path / "run")
    assert summary["head_init"] == "none"
    assert not (tmp_path / "run/checkpoint/head.safetensors").exists()
    (warning,) = [x for x in said if "head" in x]
    assert "probe.epsilon forbids" in warning


@needs_demo
def test_only_a_new_head_that_is_trained_is_made(tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    assert made_by(text_settings(tmp_path)) == "lda"
    frozen = {"targets": ["query"], "extras": "none"}
    assert made_by(text_settings(tmp_path, adapter=frozen)) is None
    assert made_by(text_settings(tmp_path, pretrain={"share": 0.3, "epochs": 1})) is None
    tuned = AutoModelForSequenceClassification.from_pretrained(model_path(), num_labels=3)
    tuned.save_pretrained(tmp_path / "tuned")
    AutoTokenizer.from_pretrained(model_path()).save_pretrained(tmp_path / "tuned")
    model = {"kind": "hf", "name": str(tmp_path / "tuned"), "max_length": 16}
    assert made_by(text_settings(tmp_path, model=model)) is None
    assert made_by(text_settings(tmp_path, model=model, head_init="lda")) == "lda"


@needs_demo
def test_the_head_that_an_adapter_brings_is_kept(tmp_path, plain):
    export(plain, tmp_path / "adapter")
    settings = load_settings(plain / "config.toml")
    further = settings.model_copy(update={"init_adapter": str(tmp_path / "adapter")})
    assert made_by(settings) == "lda"
    assert made_by(further) is None


def test_a_model_that_starts_at_random_is_left_alone_and_no_word_is_lost(tmp_path):
    adapter = {"targets": ["fc1"], "extras": ["fc2"]}
    partition = {"kind": "pathological", "clients": 5, "labels_per_client": 2}
    summary, said = run(small(rounds=1, adapter=adapter, partition=partition), tmp_path / "run")
    assert summary["head_init"] == "none"
    assert not said


def test_sums_without_a_finite_head_name_the_clients_with_the_least_and_the_largest():
    """Weights are as large as features are small: here too large for float32."""
    generator = torch.Generator().manual_seed(0)
    head = StartingHead(HEAD_INITS.build("lda"), "head", trained=False)
    state = ServerState(ServerModel({}, {"head.weight": torch.zeros(3, 4)}), {})

    def features(scale):
        x = scale * torch.randn(30, 4, generator=generator, dtype=torch.float64)
        labels = torch.arange(30) % 3
        sums = torch.zeros(3, 4, dtype=torch.float64).index_add_(0, labels, x)
        return packed(FeatureSums(torch.bincount(labels).double(), sums, x.T @ x))

    class Clients:
        def __init__(self, scales):
            self.scales = scales

        def run(self, tasks, patience):
            for task in tasks:
                yield task, Measured(task.id, {}, 0, features=features(self.scales[task.id.client]))

    def measuring(**scales):
        rbla = AGGREGATORS.build("rbla")
        return Measuring(Rules("r", 0, 1), rbla, Clients(scales), list(scales))

    made = head.made(measuring(a=1.0, b=2.0), state)
    assert made["head.weight"].isfinite().all()
    with pytest.raises(TrainingError, match=r"no finite head.*'a'\) to .*e-50 \(client 'b'"):
        head.made(measuring(a=1e-60, b=1e-49), state)
