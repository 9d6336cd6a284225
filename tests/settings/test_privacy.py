"""What leaves a client while ``probe.epsilon`` is set."""

import json

import pytest
import torch

import polyrank
from polyrank.errors import SettingsError
from polyrank.protocol.counts import Correct
from polyrank.protocol.messages import Download, EvaluateTask, TaskId
from polyrank.runs.preparation import first_adapter, prepare
from tests.small import small

COUNTS = {"criteria": ["label_entropy", "sample_count"], "probe": {"epsilon": 1.0}}


def answers_on_own_rows(settings):
    prepared = prepare(settings, None)
    trainer = prepared.crew.performer().trainer
    adapter = first_adapter(settings, prepared.server.shapes)
    id = TaskId("small", 0, "0")
    task = EvaluateTask(id, Download(adapter, prepared.server.extras))
    labels = prepared.sites["0"].test.labels
    return trainer.perform(task).counts, torch.bincount(labels, minlength=10)


def test_a_client_with_noise_on_its_counts_does_not_tell_them_by_its_answers():
    plain, labels = answers_on_own_rows(small())
    assert plain.counts.sum(1).tolist() == labels.tolist()  # which is why
    told, _ = answers_on_own_rows(small(**COUNTS))
    assert told == plain.correct == Correct(int(plain.counts.diag().sum()), int(labels.sum()))


def test_the_run_is_summed_up_from_what_is_told(tmp_path):
    done = polyrank.run(small(rounds=1, **COUNTS), out=tmp_path / "run")
    lines = map(json.loads, (done.folder / "clients.jsonl").read_text().splitlines())
    finals = [line for line in lines if line["event"] == "final"]
    assert len(finals) == 4
    for line in finals:
        for whose in ("before", "global", "personal"):
            assert set(line[whose]) == {"accuracy", "loss"}
    means = [line["personal"]["accuracy"] for line in finals]
    assert done.summary["personal"]["mean"] == pytest.approx(sum(means) / 4)
    assert done.summary["worst_client"]["final"] == min(x["global"]["accuracy"] for x in finals)
    assert done.summary["macro_f1"]["final"] is not None  # of the server's own test rows


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"criteria": ["loss_entropy", "sample_count"]}, r"loss_entropy .*\['sample_count'\]"),
        ({"criteria": ["loss_entropy_examples"]}, "loss_entropy_examples .*label_entropy"),
        ({"criteria": ["token_entropy", "token_loss_spread"]}, "token_entropy, token_loss_spread"),
        ({"allocator": {"kind": "eva", "rank": 2}}, "allocator 'eva'"),
    ],
)
def test_epsilon_beside_what_it_does_not_protect_is_refused(tmp_path, change, said):
    with pytest.raises(SettingsError, match=said):
        polyrank.run(small(probe={"epsilon": 1.0}, **change), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_criteria_that_nobody_measures_are_no_matter(tmp_path):
    uniform = {"kind": "uniform", "rank": 2}
    settings = small(probe={"epsilon": 1.0}, allocator=uniform, rounds=1, criteria=["loss_entropy"])
    assert polyrank.run(settings, out=tmp_path / "run").summary["mean_rank"] == 2
