import re
from dataclasses import replace

import pytest
import torch

from polyrank.lora.factors import B, Factors, prefix
from polyrank.lora.int8 import packed
from polyrank.protocol.counts import Confusion
from polyrank.protocol.messages import (
    ChangeRule,
    Counted,
    Download,
    Measured,
    ProbeTask,
    TaskId,
    TrainTask,
    Update,
    Wanted,
)
from polyrank.server.guards import count_refusal, probe_refusal, refusal


def good() -> Factors:
    return Factors(torch.ones(2, 3), torch.ones(4, 2), prefix(2))


TASK = TrainTask(TaskId("r", 1, "c"), Download({"fc": good()}, {"bias": torch.zeros(4)}), 0.1)
EXPECTED = {"fc": good()}
UPDATE = Update(TASK.id, {"fc": good()}, {"bias": torch.zeros(4)}, examples=5, loss=1.0)


def with_number(number: float) -> Factors:
    factors = good()
    factors.b[3, 1] = number
    return factors


def test_a_good_update_passes():
    assert refusal(UPDATE, TASK, EXPECTED, 9) is None


def in_svd_form() -> Factors:
    return Factors(torch.ones(2, 3), torch.ones(4, 2), prefix(2), torch.ones(2, 1))


def with_e(e: torch.Tensor | None) -> Factors:
    whole = in_svd_form()
    return Factors(whole.a, whole.b, whole.slots, e)


@pytest.mark.parametrize(
    ("e", "said"),
    [
        (torch.tensor([[1.0], [float("nan")]]), "factor e: 1 of 2 numbers are NaN"),
        (torch.ones(2), r"factor e: shape \(2,\) of torch.float32, expected \(2, 1\)"),
        (torch.ones(2, 0), r"factor e: shape \(2, 0\)"),
        (torch.ones(2, 1).double(), "factor e: .*float64"),
        (None, "factors in form 'lora', expected 'svd'"),
    ],
)
def test_a_third_factor_is_one_finite_number_a_slot(e, said):
    update = replace(UPDATE, adapter={"fc": with_e(e)})
    assert re.search(said, refusal(update, TASK, {"fc": in_svd_form()}, 9))
    whole = replace(UPDATE, adapter={"fc": in_svd_form()})
    assert refusal(whole, TASK, {"fc": in_svd_form()}, 9) is None
    assert "form 'svd', expected 'lora'" in refusal(whole, TASK, EXPECTED, 9)


def slots(rank: int) -> Factors:
    whole = Factors(torch.ones(6, 3), torch.ones(4, 6), prefix(6))
    return whole.take(prefix(rank))


@pytest.mark.parametrize(
    ("rank", "cut", "good"),
    [(6, 4, True), (4, 4, True), (5, 4, False), (3, 4, False), (4, None, False)],
)
def test_a_client_may_send_all_its_slots_or_just_those_that_a_cut_leaves(rank, cut, good):
    """A rule of None: this client's allocator cuts nothing."""
    update = replace(UPDATE, adapter={"fc": slots(rank)})
    allowed = {} if cut is None else {"fc": (cut,)}
    reason = refusal(update, TASK, {"fc": slots(6)}, 9, allowed)
    assert (reason is None) == good
    assert good or "are not the client's" in reason


def test_the_slots_that_a_cut_leaves_are_the_first():
    later = Factors(torch.ones(4, 3), torch.ones(4, 4), torch.arange(2, 6))
    reason = refusal(
        replace(UPDATE, adapter={"fc": later}), TASK, {"fc": slots(6)}, 9, {"fc": (4,)}
    )
    assert "are not the client's" in reason


CHANGED = replace(TASK, change=ChangeRule(0.2))


def test_a_change_may_have_any_rank_up_to_the_largest_and_says_what_it_holds():
    for rank in range(7):
        update = replace(UPDATE, adapter={"fc": slots(rank)}, shares={"fc": 0.5})
        assert refusal(update, CHANGED, {"fc": slots(6)}, 9, {"fc": range(6)}) is None
    more = replace(UPDATE, adapter={"fc": Factors(torch.ones(7, 3), torch.ones(4, 7), prefix(7))})
    assert "are not the client's" in refusal(more, CHANGED, {"fc": slots(6)}, 9, {"fc": range(6)})
    uneven = Factors(torch.ones(3, 3), torch.ones(4, 2), prefix(3))
    thin = replace(UPDATE, adapter={"fc": uneven})
    assert "shape (4, 2)" in refusal(thin, CHANGED, {"fc": slots(6)}, 9, {"fc": range(6)})


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({}, r"shares of modules \[\], expected \['fc'\]"),
        ([0.5], "shares of modules"),
        ({"fc": 1.5}, "share of module 'fc' is 1.5: expected a number from 0 to 1"),
        ({"fc": float("nan")}, "share of module 'fc' is nan"),
        ({"fc": "half"}, "share of module 'fc' is 'half'"),
    ],
)
def test_shares_are_checked(shares, said):
    update = replace(UPDATE, shares=shares)
    assert re.search(said, refusal(update, CHANGED, EXPECTED, 9))
    whole = replace(UPDATE, shares={"fc": 0.5})
    assert "expected []" in refusal(whole, TASK, EXPECTED, 9)


@pytest.mark.parametrize(
    ("observed", "said"),
    [
        ({}, r"observed modules \[\], expected \['fc'\]"),
        ([1.0], "observed modules"),
        ({"fc": torch.ones(3)}, r"observed of module 'fc': shape \(3,\)"),
        ({"fc": torch.ones(2).double()}, "float64"),
        ({"fc": torch.tensor([1.0, float("nan")])}, "1 of 2 numbers are NaN"),
        ({"fc": [1.0, 2.0]}, "expected a plain tensor"),
    ],
)
def test_what_is_observed_is_one_finite_number_a_slot(observed, said):
    update = replace(UPDATE, observed=observed)
    assert re.search(said, refusal(update, TASK, EXPECTED, 9, observes=True))
    whole = replace(UPDATE, observed={"fc": torch.ones(2)})
    assert refusal(whole, TASK, EXPECTED, 9, observes=True) is None
    assert "observed modules ['fc'], expected []" in refusal(whole, TASK, EXPECTED, 9)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": TaskId("r", 1, "c", attempt=1)}, "answers"),
        ({"examples": 0}, "0 examples"),
        ({"examples": float("nan")}, "nan examples"),
        ({"adapter": {}}, "modules"),
        ({"adapter": {"fc": good(), "fc2": good()}}, "modules"),
        ({"adapter": {"fc": Factors(good().a, good().b, torch.tensor([0, 2]))}}, "slots"),
        ({"adapter": {"fc": Factors(torch.ones(2, 1), good().b, prefix(2))}}, r"shape \(2, 1\)"),
        ({"adapter": {"fc": Factors(good().a.double(), good().b, prefix(2))}}, "float64"),
        ({"adapter": {"fc": with_number(float("nan"))}}, "factor b: 1 of 8 numbers"),
        ({"adapter": {"fc": with_number(float("inf"))}}, "infinite"),
        ({"extras": {}}, "extras"),
        ({"extras": {"bias": torch.zeros(4), "more": torch.zeros(1)}}, "extras"),
        ({"extras": {"bias": torch.full((4,), float("nan"))}}, "extra 'bias'"),
        ({"extras": {"bias": torch.zeros(1)}}, "shape"),
    ],
)
def test_a_bad_update_is_refused_with_its_reason(change, said):
    reason = refusal(replace(UPDATE, **change), TASK, EXPECTED, 9)
    assert reason is not None
    assert re.search(said, reason)


def test_spectra_must_fall():
    task = ProbeTask(TaskId("r", 0, "c"), TASK.download, 0.1, Wanted(ratios=2))
    reasons = [
        probe_refusal(Measured(task.id, {}, 0, spectra={"fc": ratios}), task, ["fc"], None)
        for ratios in ([0.5, 0.2], [0.2, 0.5])
    ]
    assert reasons[0] is None
    assert "falling ratios" in reasons[1]


def test_every_row_is_to_be_answered_once():
    id = TaskId("r", 1, "c")
    counted = Counted(id, Confusion(torch.tensor([[2, 0], [1, 1]])), 1.0)
    assert count_refusal(counted, id, 4) is None
    assert "expected 3 rows" in count_refusal(counted, id, 3)
    assert "expected 5 rows" in count_refusal(counted, id, 5)


HEAD = {"bias": torch.zeros(4), "head": torch.ones(3, 4)}
SENT = packed({"fc": good()}, HEAD)
SMALL = replace(
    TASK, download=Download(SENT.adapter, SENT.extras, None, SENT.scales), compression="int8"
)
ROUNDED = replace(UPDATE, adapter=SENT.adapter, extras=SENT.extras, scales=SENT.scales)
B_SCALES = SENT.scales["adapter/fc/b"]


def scaled(**changes):
    named = {"a": "adapter/fc/a", "b": "adapter/fc/b", "head": "extras/head", "more": "more"}
    return {"scales": {**SENT.scales, **{named[k]: t for k, t in changes.items()}}}


def without(name):
    return {"scales": {n: t for n, t in SENT.scales.items() if n != name}}


def test_an_update_in_eight_bits_passes_with_as_few_slots_as_it_may_have():
    assert refusal(ROUNDED, SMALL, EXPECTED, 9) is None
    less = packed({"fc": slots(2)}, HEAD)
    update = replace(UPDATE, adapter=less.adapter, extras=less.extras, scales=less.scales)
    assert refusal(update, SMALL, {"fc": slots(6)}, 9, {"fc": range(6)}) is None
    half = packed({"fc": good().only(B)}, HEAD)
    update = replace(UPDATE, adapter=half.adapter, extras=half.extras, scales=half.scales)
    assert refusal(update, SMALL, {"fc": good().only(B)}, 9) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (scaled(b=torch.tensor([1.0, float("nan")])), "scales of 'adapter/fc/b': 1 of 2 numbers"),
        (scaled(b=torch.tensor([1.0, float("inf")])), "scales of 'adapter/fc/b': 1 of 2 numbers"),
        (scaled(b=torch.tensor([1.0, -1e-9])), "expected numbers from 0 up"),
        (scaled(b=torch.tensor([1.0, 3e38])), "times 128 are finite"),
        (scaled(a=torch.ones(3)), r"scales of 'adapter/fc/a': shape \(3,\)"),
        (scaled(a=torch.ones(2).double()), "scales of 'adapter/fc/a': .*float64"),
        (scaled(a=[1.0, 1.0]), "expected a plain tensor"),
        (scaled(head=torch.ones(4)), r"scales of 'extras/head': shape \(4,\)"),
        (scaled(more=torch.ones(2)), r"scales of \['adapter/fc/a'.*, expected"),
        (without("adapter/fc/b"), r"scales of .*, expected \['adapter/fc/a', 'adapter/fc/b'"),
        (without("extras/head"), "expected .*'extras/head'"),
        ({"scales": [1.0]}, "scales of <class 'list'>"),
        ({"scales": {}}, r"scales of \[\], expected"),
        ({"adapter": {"fc": good()}}, "factor a: .*float32, expected .*int8"),
        (
            {"adapter": {"fc": Factors(good().a.char(), good().b.short(), prefix(2))}},
            "factor b: .*int16, expected .*int8",
        ),
        (
            {"adapter": {"fc": Factors(torch.ones(2, 4).char(), good().b.char(), prefix(2))}},
            r"factor a: shape \(2, 4\)",
        ),
        ({"extras": HEAD}, "extra 'head': .*float32, expected .*int8"),
    ],
)
def test_bad_numbers_in_eight_bits_are_refused_with_the_reason(change, said):
    assert re.search(said, refusal(replace(ROUNDED, **change), SMALL, EXPECTED, 9))


def test_eight_bits_that_nobody_asked_for_are_refused():
    assert "int8, expected" in refusal(ROUNDED, TASK, EXPECTED, 9)
    scales = {"adapter/fc/b": B_SCALES}
    assert "expected []" in refusal(replace(UPDATE, scales=scales), TASK, EXPECTED, 9)
