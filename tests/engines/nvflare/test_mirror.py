"""The admin's copy of a run folder."""

import numpy as np
import pytest

from polyrank import api
from polyrank.engines.nvflare.mirror import listing, read_block
from polyrank.errors import FederationError


def test_the_admin_may_have_every_file_of_a_run_but_its_clients_own(tmp_path):
    """A run on a table, whose scaling is learnt, with a head made of sums."""
    draw = np.random.default_rng(0).normal(size=(60, 2))
    lines = [f"{a},{b},{'ill' if a > b else 'well'}" for a, b in draw]
    (tmp_path / "rows.csv").write_text("\n".join(["age,dose,outcome", *lines]))
    settings = {
        "rounds": 1,
        "data": {"source": str(tmp_path / "rows.csv"), "target": "outcome"},
        "partition": {"kind": "iid", "clients": 2},
        "model": {"kind": "mlp", "hidden": [8]},
        "adapter": {"targets": ["fc1"], "extras": "all"},
        "head_init": "class_means",
    }
    run = api.run(settings, out=tmp_path / "run").folder
    states = {f"checkpoint/{path.name}" for path in (run / "checkpoint").glob("*.safetensors")}
    assert {"checkpoint/scaling.safetensors", "checkpoint/head.safetensors"} < states
    assert states < set(listing(run))
    assert not [name for name in listing(run) if "clients/" in name]


def test_a_file_that_is_none_of_a_run_is_refused(tmp_path):
    (tmp_path / "secret").write_text("key")
    for name in ("secret", "../secret", "checkpoint/clients/a.safetensors"):
        with pytest.raises(FederationError, match="expected a file of a run"):
            read_block(tmp_path, name, 0)
