"""Runs of one seed that had not the same rows, or not the same start, are noticed."""

from dataclasses import replace
from pathlib import Path

import pytest

from polyrank.comparing.cells import Cell
from polyrank.comparing.same_start import check_same_start
from polyrank.errors import RunFolderError
from tests.report.test_report_ahead import a_run
from tests.small import small
from tests.written import a_round, about_client


def a_cell(name, *, counts=(3, 4), loss=2.0, train=9, **changes):
    cell = Cell(name, small(**changes), Path(name))
    told = {"client": "a", "label_counts": counts, "examples": {"train": train, "test": 1}}
    before = a_round(round=0, validation={"accuracy": 0.1, "loss": loss})
    profile = about_client({"event": "profile", **told})
    return cell, replace(a_run(name, 0, 0.5), clients=[profile], rounds=[before])


def test_arms_that_share_rows_and_start_pass():
    check_same_start([a_cell("x"), a_cell("y", aggregator="flexlora", allocator="uniform")])


@pytest.mark.parametrize("other", [{"counts": (4, 3)}, {"train": 8}])
def test_other_rows_at_a_client_are_noticed(other):
    with pytest.raises(RunFolderError, match="y and x: expected the same rows at the same clients"):
        check_same_start([a_cell("x"), a_cell("y", aggregator="flexlora", **other)])


def test_another_start_is_noticed():
    with pytest.raises(
        RunFolderError, match=r"the same loss before training, got 2\.1 and 2, seed"
    ):
        check_same_start([a_cell("x"), a_cell("y", aggregator="flexlora", loss=2.1)])


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"partition": {"kind": "iid", "clients": 4}},
        {"data": "digits"},
        {"evaluation": {"held_by": "clients"}},
    ],
)
def test_what_decides_on_the_rows_may_make_them_differ(changes):
    check_same_start([a_cell("x"), a_cell("y", counts=(4, 3), loss=9.0, **changes)])


def test_another_model_may_start_otherwise_and_noise_tells_nothing():
    check_same_start([a_cell("x"), a_cell("y", loss=9.0, model={"kind": "mlp", "hidden": [8]})])
    noisy = {"probe": {"epsilon": 1.0}}
    check_same_start([a_cell("x", **noisy), a_cell("y", counts=(4, 3), **noisy)])
