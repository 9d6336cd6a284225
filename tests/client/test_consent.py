"""What a client's owner has not agreed to is refused, with the reason."""

from dataclasses import replace

import pytest
import torch

from polyrank.client.agreement import Agreement, names_in
from polyrank.client.consent import run_refusal, task_refusal
from polyrank.client.site import Site
from polyrank.errors import FederationError, SettingsError
from polyrank.inputs.arrays import Examples, RowView
from polyrank.lora.factors import start_factors
from polyrank.protocol.messages import Download, ProbeTask, ProfileTask, TaskId, TrainTask, Wanted

ANY = Agreement("a", "store")
ID = TaskId("run", 1, "a")
ADAPTER = {"fc": start_factors((20, 30), 8, 0, "fc")}
TRAIN = TrainTask(ID, Download(ADAPTER, {}), 1.0)
BASE = {"weight": torch.zeros(250_000)}  # 1 MB


def probe(wanted: Wanted) -> ProbeTask:
    return ProbeTask(ID, Download({}, {}), 1.0, wanted)


def site(rows: int) -> Site:
    examples = Examples(torch.zeros(rows, 2), torch.zeros(rows, dtype=torch.int64))
    return Site(RowView(examples, torch.arange(rows)), RowView(examples, torch.arange(0)), 0)


def test_without_limits_everything_is_done():
    everything = Wanted(("label_count",), ratios=4)
    for task in (TRAIN, ProfileTask(ID), probe(everything), probe(Wanted(head="head"))):
        assert task_refusal(ANY, task, BASE) is None
    assert run_refusal(ANY, site(1), BASE) is None


def test_a_rank_above_the_cap_is_refused_and_one_at_it_is_not():
    assert task_refusal(replace(ANY, cap=8), TRAIN, BASE) is None
    said = task_refusal(replace(ANY, cap=7), TRAIN, BASE)
    assert said == "this client trains ranks up to 7, and module 'fc' was to have 8"


def test_the_cap_is_of_the_slots_that_are_trained():
    slots = {"fc": torch.arange(4)}
    assert task_refusal(replace(ANY, cap=4), replace(TRAIN, slots=slots), BASE) is None


def test_criteria_that_were_not_agreed_to_are_refused():
    strict = replace(ANY, criteria=("label_count",))
    assert task_refusal(strict, probe(Wanted(("label_count",))), BASE) is None
    said = task_refusal(strict, probe(Wanted(("label_count", "noise"))), BASE)
    assert said == "this client measures label_count, and not noise"
    assert task_refusal(strict, probe(Wanted(ratios=4)), BASE) == (
        "this client measures label_count, and not spectra"
    )


def test_head_sums_are_refused_where_they_were_not_agreed_to():
    assert "no features" in str(
        task_refusal(replace(ANY, head_sums=False), probe(Wanted(head="h")), BASE)
    )


def test_too_few_rows_and_too_little_memory_are_named():
    said = run_refusal(replace(ANY, least_rows=3), site(2), BASE)
    assert said == "this client takes part with at least 3 training rows, and has 2"
    assert run_refusal(replace(ANY, least_rows=2), site(2), BASE) is None
    assert run_refusal(replace(ANY, megabytes=1), site(2), BASE) is None
    more = {"weight": torch.zeros(250_001)}
    assert run_refusal(replace(ANY, megabytes=1), site(2), more) == (
        "this client gives 1 MB, and the base need 1 MB"
    )
    assert "base and adapter" in str(task_refusal(replace(ANY, megabytes=1), TRAIN, BASE))


def test_an_agreement_comes_back_as_it_was_and_only_its_owner_can_read_it(tmp_path):
    path = tmp_path / "agreement.json"
    whole = replace(ANY, data="rows.csv", criteria=("noise",), cap=3, tells=("examples",), rows=9)
    whole.write(path)
    assert Agreement.read(path) == whole
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text('{"client": "a", "store": "s", "unknown": 1}')
    with pytest.raises(FederationError, match="not written by this version"):
        Agreement.read(path)


def test_names_are_read_and_unknown_ones_refused():
    assert names_in("a, b", "--criteria") == ("a", "b")
    assert names_in("none", "--tells", ("examples",)) == ()
    with pytest.raises(SettingsError, match=r"--tells 'exampels': .*did you mean 'examples'"):
        names_in("exampels", "--tells", ("examples",))
