import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from polyrank.errors import DataError, SettingsError
from polyrank.runs.preparation import prepare
from tests.small import small


def test_a_base_that_is_no_safetensors_is_told_apart_from_one_that_does_not_fit(tmp_path):
    torch.save({"fc1.weight": torch.zeros(2)}, tmp_path / "a.pt")
    with pytest.raises(SettingsError, match=r"a\.pt': expected a file of safetensors"):
        prepare(small(base=str(tmp_path / "a.pt")), None)
    save_file({"fc1.weight": torch.zeros(2)}, tmp_path / "b.safetensors")
    with pytest.raises(SettingsError, match=r"b\.safetensors': does not fit the model: "):
        prepare(small(base=str(tmp_path / "b.safetensors")), None)


def test_a_classifier_needs_two_labels(tmp_path):
    np.savez(tmp_path / "a.npz", train_x=np.ones((40, 2)), train_y=np.full(40, 3))
    settings = small(data=f"{tmp_path}/a.npz", partition={"kind": "iid", "clients": 2})
    with pytest.raises(DataError, match=r"a\.npz: expected at least two labels .*, got '3' alone"):
        prepare(settings, None)
