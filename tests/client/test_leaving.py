"""What leaves a client: only what is made for it; no true label count where noise is asked for."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

import polyrank.client
from polyrank.client.leaving import counted_from, label_counts, profile_from
from polyrank.client.site import Site
from polyrank.inputs.arrays import Examples, RowView
from polyrank.protocol.counts import Confusion, Correct, CorrectTokens
from polyrank.protocol.messages import Profile, TaskId

ID = TaskId("r", 0, "c")
LABELS = [0, 0, 0, 2, 2, 1]


def site(**changes):
    examples = Examples(torch.zeros(6, 2), torch.tensor(LABELS))
    train, test = RowView(examples, torch.arange(5)), RowView(examples, torch.arange(5, 6))
    return Site(train, test, **{"secret": 7, **changes})


def test_messages_that_hold_data_are_made_in_one_file():
    for path in Path(polyrank.client.__file__).parent.glob("*.py"):
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        made = {call.func.id for call in calls if isinstance(call.func, ast.Name)}
        leaves = made & {"Profile", "Measured", "Update", "Counted"}
        assert bool(leaves) == (path.name == "leaving.py"), (path.name, leaves)


def test_a_client_tells_its_training_rows_alone():
    assert profile_from(ID, site(), 4, None) == Profile(ID, 5, 1, [3, 0, 2, 0])


@pytest.mark.parametrize(
    ("tells", "told"),
    [
        ((), Profile(ID)),
        (("examples",), Profile(ID, 5, 1)),
        (("label_counts",), Profile(ID, label_counts=[3, 0, 2, 0])),
    ],
)
def test_a_client_tells_no_more_than_it_agrees_to(tells, told):
    assert profile_from(ID, site(tells=frozenset(tells)), 4, None) == told


def test_noise_on_counts_is_drawn_from_the_clients_secret_once():
    """Asked again it tells the same; whoever does not know the secret draws something else."""
    told = [profile_from(ID, site(secret=s), 4, 0.1).label_counts for s in (7, 7, 8)]
    assert told[0] == told[1] != told[2]
    noise = np.random.default_rng(7).laplace(0.0, 10.0, 4)
    expected = np.maximum(label_counts(site(), 4) + noise, 0.0)
    assert told[0] == expected.round().tolist()
    assert told[0] != [3, 0, 2, 0]


def test_answers_by_label_do_not_leave_where_counts_are_private():
    confusion = Confusion(torch.tensor([[2, 1], [0, 4]]))
    assert counted_from(ID, confusion, 1.0, None).counts is confusion
    assert counted_from(ID, confusion, 1.0, 0.5).counts == Correct(6, 7)
    assert counted_from(ID, CorrectTokens(1, 2), 1.0, 0.5).counts == CorrectTokens(1, 2)
