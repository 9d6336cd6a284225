"""Choices become arms: the product, with names that tell them apart and can be folders."""

import pytest

from polyrank.comparing.choices import LONGEST, varied
from polyrank.errors import SettingsError


def test_choices_are_multiplied_and_named_by_what_they_choose():
    arms = varied(["aggregator=rbla,flexlora", "allocator=autorank,uniform"])
    assert list(arms) == [
        "rbla, autorank", "rbla, uniform", "flexlora, autorank", "flexlora, uniform",
    ]  # fmt: skip
    assert arms["flexlora, uniform"] == {"aggregator": "flexlora", "allocator": "uniform"}


def test_a_value_may_be_a_table_or_a_list_with_commas_of_its_own():
    arms = varied(
        ['allocator={kind="uniform", rank=4},need', 'criteria=["a","b"],["c"]', "ranks.budget=2"]
    )
    assert list(arms)[:2] == [f"uniform rank 4, criteria {of}, budget 2" for of in ("a b", "c")]
    first = arms["uniform rank 4, criteria a b, budget 2"]
    assert first["allocator"] == {"kind": "uniform", "rank": 4}
    assert (first["criteria"], first["ranks.budget"]) == (["a", "b"], 2)


def test_names_can_be_folders_and_are_told_apart():
    long = "x" * 200
    arms = varied([f"data=npz:/a/b.npz,npz:-a-b.npz,{long}1,{long}2"])
    assert list(arms)[:2] == ["data npz--a-b.npz", "data npz--a-b.npz (2)"]
    assert len(arms) == 4
    assert all(len(name.encode()) <= LONGEST + 4 and "/" not in name for name in arms)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        (["aggregator"], "expected KEY=VALUE,VALUE"),
        (["=rbla"], "expected KEY=VALUE,VALUE"),
        (["aggregator=rbla,"], "expected KEY=VALUE,VALUE"),
        (["aggregator=rbla,rbla"], "every value once"),
        (["aggregator=rbla", "aggregator=flexlora"], "aggregator is varied twice"),
        (["allocator={kind=uniform},need"], "not valid TOML"),
    ],
)
def test_a_choice_that_is_none_is_refused(choices, said):
    with pytest.raises(SettingsError, match=said):
        varied(choices)
