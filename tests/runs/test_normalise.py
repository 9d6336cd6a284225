"""Constants by which inputs are normalised: on every side of a run, and after it."""

import json
from dataclasses import replace

import numpy as np
import pytest

import polyrank
from polyrank.client.agreement import Agreement
from polyrank.datasets import load
from polyrank.errors import SettingsError
from polyrank.runs.encoding import encode
from polyrank.runs.evaluation import evaluate
from polyrank.runs.export import export
from polyrank.runs.own_data import own_site, prepare_server
from tests.small import small, tiny_digits
from tests.written import lines_in, summary_in

MEAN, STD = 0.3, 0.25
GIVEN = {"normalise": {"mean": MEAN, "std": STD}}
SAME_LINES = ("round", "cohort", "train_loss", "validation", "test")


def by_hand(argument: str):
    """The digits of ``tiny_digits``, normalised already."""
    data = tiny_digits(argument)
    mean, std = np.float32(MEAN), np.float32(STD)
    return replace(data, train_x=(data.train_x - mean) / std)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    settings = small(data={"source": "tests.small:tiny_digits", **GIVEN}, rounds=2)
    return polyrank.run(settings, out=tmp_path_factory.mktemp("normalised") / "run").folder


def test_a_run_is_that_of_data_that_were_normalised_before(run, tmp_path):
    """Training, validation and test rows alike: the same bits."""
    settings = small(data="tests.runs.test_normalise:by_hand", rounds=2)
    other = polyrank.run(settings, out=tmp_path / "by-hand").folder
    for ours, theirs in zip(lines_in(run, "rounds"), lines_in(other, "rounds"), strict=True):
        assert [ours[key] for key in SAME_LINES] == [theirs[key] for key in SAME_LINES]
    finals = [[x for x in lines_in(f, "clients") if x["event"] == "final"] for f in (run, other)]
    assert finals[0] == finals[1]


def test_eval_normalises_and_an_export_says_that_its_user_must(run, tmp_path):
    ended = summary_in(run)["accuracy"]["final"]
    assert evaluate(run, trust=True)["accuracy"] == pytest.approx(ended)
    export(run, tmp_path / "out")
    said = json.loads((tmp_path / "out" / "base.json").read_text())
    assert said["normalise"] == {"mean": [MEAN], "std": [STD]}
    assert f"mean {MEAN}, std {STD}" in (tmp_path / "out" / "README.md").read_text()


def test_hosts_with_data_of_their_own_do_it_too(tmp_path):
    """A client's file, and the server's, as ``own_data`` reads them on their machines."""
    data = load("digits", seed=0)
    x = (data.train_x * 16).astype(np.uint8)
    np.savez(tmp_path / "own.npz", train_x=x[:50], train_y=data.train_y[:50])
    source = str(tmp_path / "own.npz")
    settings = small(data={"source": source, **GIVEN})
    side = prepare_server(settings, None).server
    about = {"label_names": side.label_names, "columns": None, "input_shape": [1, 8, 8]}
    agreement = Agreement(client="a", data=source, store=str(tmp_path))
    site = own_site(settings, agreement, about, None)
    for view in (site.train, site.test, side.rows["validation"], side.rows["test"]):
        found, _ = view.examples.batch(view.numbers)
        smallest = -MEAN / STD  # a white pixel
        assert float(found.min()) == pytest.approx(smallest)


def test_a_table_and_a_model_with_inputs_of_its_own_are_named(tmp_path):
    (tmp_path / "t.csv").write_text("age,ill\n" + "".join(f"{n},{n % 2}\n" for n in range(40)))
    table = {"source": str(tmp_path / "t.csv"), "target": "ill", **GIVEN}
    with pytest.raises(SettingsError, match=r"data\.normalise: the numbers of a table"):
        polyrank.run(small(data=table), out=tmp_path / "run")
    texts = small(data={"source": "digits", **GIVEN}, model={"kind": "hf", "name": "x"})
    with pytest.raises(SettingsError, match=r"data\.normalise: model 'hf' prepares"):
        encode(texts, np.array(["a"], object), np.zeros(1, np.int64), None)
