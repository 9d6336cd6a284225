"""What is measured can be run, and what is claimed has been measured."""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import arms
import causal_federation
import claims
import claims_table
import compression
import need
import pytest
import safe_default
import scaling

from polyrank.comparing.plan import planned

ROOT = Path(__file__).parents[2]
Settings = Mapping[str, Any]


def experiments(out: Path) -> Iterator[tuple[Settings, Mapping[str, Settings], bool]]:
    """Yield settings, arms, and whether rates are tuned, of what needs no data sets."""
    for place in arms.federations(None):
        yield place.settings, place.arms, place.tune > 0
    for where in safe_default.federations(None, out):
        yield {**safe_default.HELP, **where.settings}, where.arms, True
    for name in scaling.SCALINGS:
        ratios = scaling.ORDERS.items()
        orders = {n: {"allocator": {"kind": "ratio", "ratios": of}} for n, of in ratios}
        yield scaling.settings(name), orders, True
    rows = out / "rows.jsonl"
    rows.write_text("".join(f'{{"text": "a text", "client": "{n % 8}"}}\n' for n in range(160)))
    yield causal_federation.settings(out / "base", rows), causal_federation.ARMS, True
    yield compression.settings_of("digits", "digits"), compression.ARMS, False
    for one in need.places(None, out):
        if one.data == "digits":
            yield one.settings, one.arms, True


def test_every_arm_of_an_experiment_can_be(tmp_path):
    for settings, of, tune in experiments(tmp_path):
        given = {"overrides": (), "seeds": 2, "against": None, "controls": False}
        made = planned(settings, arms=of, tune=tune, **given)
        assert [variant.name for variant in made.variants] == list(of)


def test_every_claim_has_been_measured():
    every = [*claims.claims(claims_table.read(ROOT / "results"))]
    assert len(every) > 10
    assert [claim.says for claim in every if not claim.places] == []


@pytest.mark.parametrize("target", ["quick", "all", "alone"])
def test_one_command_runs_scripts_that_are_there(target):
    command = ["make", "-n", "-f", "results/Makefile", target, "DATA=FOLDER"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    scripts = {word for word in done.stdout.split() if word.endswith(".py")}
    assert len(scripts) > 5
    assert [script for script in scripts if not (ROOT / script).exists()] == []
