"""A finished run's model on data that the run has not seen."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import polyrank
from polyrank.datasets import load
from polyrank.errors import DataError
from polyrank.runs.evaluation import evaluate
from polyrank.runs.trained_model import read_trained
from tests.small import small, tiny_digits


def evens(argument: str):
    """Even digits only, in another numbering, without a test part."""
    data = tiny_digits(argument)
    rows = np.flatnonzero(data.train_y % 2 == 0)
    names = ("8", "6", "4", "2", "0")
    labels = np.array([names.index(str(y)) for y in data.train_y[rows]])
    nothing = {"test_x": data.test_x[:0], "test_y": data.test_y[:0]}
    return replace(data, train_x=data.train_x[rows], train_y=labels, label_names=names, **nothing)


def letters(argument: str):
    return replace(evens(argument), label_names=("a", "6", "b", "2", "0"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return polyrank.run(small(), out=tmp_path_factory.mktemp("evaluated") / "run").folder


def test_the_run_s_own_test_rows_give_the_recorded_metrics(run):
    found = evaluate(run, trust=True)
    settings = read_trained(run, None).settings
    assert found["rows"] == len(load(settings.data.source, seed=0).test_y)


def test_all_rows_of_other_data_count_and_labels_are_told_by_name(run):
    found = evaluate(run, source="tests.runs.test_evaluation:evens")
    data = evens("")
    assert found["rows"] == len(data.train_y)
    model = read_trained(run, None).bridge().model
    inputs = torch.from_numpy(data.train_x).float() / (255 if data.train_x.dtype == np.uint8 else 1)
    with torch.no_grad():
        said = model(inputs[:, None]).argmax(1).numpy()
    right = np.array([str(s) for s in said]) == np.array(data.label_names)[data.train_y]
    assert found["accuracy"] == pytest.approx(right.mean())
    assert 0.05 < right.mean() < 1


def test_labels_that_the_model_does_not_know_are_an_error(run):
    with pytest.raises(DataError, match=r"the model knows, 0, 1, .*; got a, b$"):
        evaluate(run, source="tests.runs.test_evaluation:letters")


def test_a_file_is_read_with_the_columns_of_the_run_s(tmp_path):
    from polyrank.runs.evaluation import _other

    lines = [f"q{k},{'yes' if k % 2 else 'no'}" for k in range(10)]
    (tmp_path / "new.csv").write_text("question,answer\n" + "\n".join(lines) + "\n")
    options = {"source": "csv:x.csv", "test_path": "y.csv", "text": "question", "label": "answer"}
    data = _other(small(data=options), str(tmp_path / "new.csv"))
    assert len(data.train_y) == 10
    assert len(data.test_y) == 0
    assert data.label_names == ("no", "yes")
