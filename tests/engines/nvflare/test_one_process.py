"""Every method over the messages of a federation, all its hosts in one process: the same bits.

The server's job and the clients' processes are the real ones, and so is what travels; NVFlare's
processes and connections are left out, which ``test_loopback`` and ``test_hosts`` have.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("nvflare", reason="NVFlare is not installed: pip install 'polyrank[nvflare]'")

from nvflare.fuel.utils import fobs

from polyrank import api
from polyrank.aggregators import AGGREGATORS
from polyrank.client.agreement import Agreement
from polyrank.engines.nvflare.parcels import parcel, read_parcel
from polyrank.engines.nvflare.request import Request
from polyrank.engines.nvflare.sender import Reply
from polyrank.engines.nvflare.serving import Served
from polyrank.errors import PolyRankError, RunFolderError
from polyrank.record.run_folder import Elsewhere, RunFolder
from polyrank.runs.export import export
from polyrank.runs.site_process import SiteProcess
from polyrank.settings.schema import Settings
from polyrank.settings.toml import make_settings
from tests.small import small, tiny_digits
from tests.whole_runs import KINDS, SAME

NAMES = ("0", "1", "2", "3")
NEED = {"kind": "need", "start": 3}
CASES: dict[str, dict[str, Any]] = {
    "bfloat16 in training": {"training": {"autocast": "bf16"}},
    "ranks by need": {"allocator": NEED, "aggregator": "anchored"},
    "clients choose the round": {"evaluation": {"held_by": "clients"}},
    **KINDS,
}
_HAVE = {case.get("aggregator") for case in CASES.values()}
CASES |= {name: {"aggregator": name} for name in AGGREGATORS if name not in _HAVE}
CASES["fedavg"] |= {"ranks": {"r_min": 3, "r_max": 3}}


class OneProcess:
    """Carries messages to clients in this process, by NVFlare's own serialisation."""

    def __init__(self, stores: Path) -> None:
        self.sites = {name: SiteProcess(Agreement(name, str(stores / name))) for name in NAMES}

    def post(
        self, client: str, told: Mapping[str, Any], data: bytes, answered: Callable[[Reply], None]
    ) -> Callable[[], None]:
        answer = self.sites[client].answer(*travelled(told, data))
        answered(Reply(*travelled(*answer)))
        return lambda: None

    def fault(self, client: str) -> str | None:
        return None

    def stopped(self) -> bool:
        return False

    def lost(self, client: str) -> bool:
        return False


def travelled(told: Mapping[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    return read_parcel(fobs.loads(fobs.dumps(parcel(told, data))))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    data, path = tiny_digits(""), tmp_path_factory.mktemp("rows") / "tiny.npz"
    np.savez(
        path, train_x=data.train_x, train_y=data.train_y, test_x=data.test_x, test_y=data.test_y
    )
    return str(path)


def of(rows: str, changes: Mapping[str, Any]) -> Settings:
    document = small(data=rows, cohort_size=3, rounds=2, **changes).model_dump()
    if changes.get("allocator") == NEED:
        document = {k: v for k, v in document.items() if k not in ("ranks", "recipe")}
    return make_settings(document)


def far(settings: Settings, folder: Path) -> Path:
    """Run by the server's job of a federation."""
    told = settings.model_dump(mode="json", exclude_none=True)
    request = Request("far", told, {name: name for name in NAMES}, NAMES, split=True)
    served = Served(request, folder, OneProcess(folder / "stores"))
    served.perform()
    assert served.events.outcome == {"ended": "done"}
    return served.folder


def assert_same(near: Path, away: Path, stores: Path) -> None:
    for name in SAME:
        assert (near / name).read_bytes() == (away / name).read_bytes(), name
    for path in near.glob("checkpoint/*.safetensors"):
        assert path.read_bytes() == (away / "checkpoint" / path.name).read_bytes(), path.name
    kept = newest(near.glob("checkpoint/clients/*.safetensors"))
    assert kept
    for path in kept:
        own = stores / path.name.partition(".")[0] / "far" / path.name
        assert path.read_bytes() == own.read_bytes(), path.name


def newest(paths: Sequence[Path]) -> list[Path]:
    """Return the last file of each client."""
    return [*{path.name.partition(".")[0]: path for path in sorted(paths)}.values()]


@pytest.mark.parametrize("case", [*CASES])
def test_every_method_gives_the_bits_of_the_simulation(case: str, rows: str, tmp_path: Path):
    settings = of(rows, CASES[case])
    near = api.run(settings, out=tmp_path / "near").folder
    assert_same(near, far(settings, tmp_path / "far"), tmp_path / "far" / "stores")


@pytest.mark.parametrize("name", ["fedsa", "fedex"])  # factors of its own; a changed base
def test_a_client_s_own_model_is_exported_from_what_its_host_keeps(
    name: str, rows: str, tmp_path: Path
):
    settings = of(rows, {"aggregator": name})
    near = api.run(settings, out=tmp_path / "near").folder
    far(settings, tmp_path / "far")
    trained = newest(near.glob("checkpoint/clients/*.safetensors"))[0].name.partition(".")[0]
    simulated = export(near, tmp_path / "simulated", client=trained)
    host = tmp_path / "far" / "stores" / trained / "far"
    own = export(host, tmp_path / "own", client=trained)
    for file in ("adapter_model.safetensors", "adapter_config.json", "base.safetensors"):
        assert (own / file).read_bytes() == (simulated / file).read_bytes()
    assert not list(own.rglob("*.npz"))
    with pytest.raises(RunFolderError, match="expected --client NAME; the global model is with"):
        export(host, tmp_path / "none")
    with pytest.raises(RunFolderError, match="'other' has not trained in any round here"):
        export(host, tmp_path / "none", client="other")
    RunFolder(near).write_elsewhere(Elsewhere("kits/admin", "run-7", ()))
    with pytest.raises(RunFolderError, match=r"stays on its host, in the folder store/run-7 of"):
        export(near, tmp_path / "none", client=trained)
    assert not (tmp_path / "none").exists()


def test_damaged_files_of_a_host_are_named(rows: str, tmp_path: Path):
    (tmp_path / "setup").mkdir()
    (tmp_path / "setup" / "setup.safetensors").write_bytes(b"nothing")
    with pytest.raises(PolyRankError, match="expected the setup of a run"):
        export(tmp_path, tmp_path / "none", client="a")
