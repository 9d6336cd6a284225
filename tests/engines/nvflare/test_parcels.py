"""What travels is text and bytes; nothing else is built from a message."""

import json
import pickle

import pytest

pytest.importorskip("nvflare", reason="NVFlare is not installed: pip install 'polyrank[nvflare]'")

from nvflare.apis.shareable import Shareable
from nvflare.fuel.utils import fobs
from nvflare.fuel.utils.fobs.fobs import Packer

from polyrank.engines.nvflare.parcels import parcel, read_parcel
from polyrank.errors import MessageError


class Trap:
    """Leaves a trace when it is unpickled."""

    sprung = False

    def __reduce__(self):
        return setattr, (Trap, "sprung", True)


def test_a_message_comes_back_through_nvflare_s_own_serialisation():
    sent = parcel({"kind": "task", "keep": [1]}, b"\x00\xff")
    assert read_parcel(fobs.loads(fobs.dumps(sent))) == ({"kind": "task", "keep": [1]}, b"\x00\xff")


def test_only_text_and_bytes_are_handed_to_nvflare():
    sent = dict(parcel({"kind": "task"}, b"data"))
    sent.pop("__headers__")
    assert {name: type(value) for name, value in sent.items()} == {"told": str, "data": bytes}


def test_a_pickle_in_a_message_stays_bytes():
    told, data = read_parcel(fobs.loads(fobs.dumps(parcel({"kind": "task"}, pickle.dumps(Trap())))))
    assert told == {"kind": "task"}
    assert data == pickle.dumps(Trap())
    assert not Trap.sprung


@pytest.mark.parametrize("name", ["os.system", "subprocess.Popen", f"{__name__}.Trap"])
def test_nvflare_builds_no_class_that_a_message_names(name: str):
    generic = "nvflare.fuel.utils.fobs.decomposer.DataClassDecomposer"
    hostile = {"__fobs_type__": name, "__fobs_data__": {}, "__fobs_dc__": generic}
    with pytest.raises(ValueError, match="not allowed"):
        Packer(None).unpack(hostile)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"told": "{}", "data": b""},
        {"told": "[1]", "data": b""},
        {"told": "{", "data": b""},
        {"told": json.dumps({"kind": 1}), "data": b""},
        {"told": json.dumps({"kind": "task"}), "data": "text"},
        {"told": json.dumps({"kind": "x" * 2**20}), "data": b""},
    ],
)
def test_what_is_no_message_is_named(content: dict[str, object]):
    wrapped = Shareable()
    wrapped.update(content)
    with pytest.raises(MessageError, match="expected"):
        read_parcel(wrapped)
