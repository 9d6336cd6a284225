"""What a run knows of its clients' data is what they tell."""

import numpy as np
import pytest

import polyrank
from polyrank.runs.preparation import prepare
from tests.small import small
from tests.test_imports import MODULES, of_polyrank, part_of
from tests.written import lines_in

COUNTS = {"criteria": ["label_entropy", "sample_count"], "rounds": 1}


def profiles(folder):
    return {c["client"]: c for c in lines_in(folder, "clients") if c["event"] == "profile"}


@pytest.mark.parametrize("module", ["experiment", "choosing", "ledger", "opening"])
def test_the_server_s_side_of_a_run_knows_no_client_and_no_data(module):
    known = set(map(part_of, of_polyrank(MODULES[f"polyrank.runs.{module}"])))
    assert not known & {"client", "engines", "datasets", "partitioners"}


def test_the_records_hold_the_noise_that_is_asked_for(tmp_path):
    settings = small(**COUNTS, probe={"epsilon": 0.5})
    told = profiles(polyrank.run(settings, out=tmp_path / "run").folder)
    sites = prepare(settings, None).sites
    true = {c: np.bincount(site.train.labels, minlength=10).tolist() for c, site in sites.items()}
    noise = [np.subtract(told[c]["label_counts"], true[c]) for c in sites]
    assert 1 < np.mean(np.abs(noise)) < 4  # of scale 2, cut at 0
    again = profiles(polyrank.run(settings, out=tmp_path / "again").folder)
    assert again == told


def test_what_clients_do_not_tell_is_not_known_and_the_run_goes_on(tmp_path):
    done = polyrank.run(small(**COUNTS, profile=[]), out=tmp_path / "run")
    for profile in profiles(done.folder).values():
        assert profile["label_counts"] == []
        assert profile.get("examples") is None
    assert done.summary["worst_client"] is None
    page = (done.folder / "report.html").read_text()
    assert "Labels by client" not in page
    assert "Examples by client" not in page
    sizes = polyrank.run(small(**COUNTS, profile=["examples"]), out=tmp_path / "sizes")
    assert "Examples by client" in (sizes.folder / "report.html").read_text()
    assert sizes.summary["worst_client"] is not None


def test_a_round_that_has_its_quorum_waits_for_no_more_than_it_is_told(tmp_path):
    settings = small(rounds=1, round_timeout=1e-6, quorum=3)
    done = polyrank.run(settings, out=tmp_path / "run")
    (line,) = lines_in(done.folder, "rounds")[1:]
    assert [f["reason"] for f in line["failed"]] == ["no answer in 1e-06 s (round_timeout)"]
    assert done.summary["failed"] == 1
