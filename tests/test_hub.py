import time

import pytest
from huggingface_hub import constants

from polyrank.datasets.hf import hf
from polyrank.errors import DataError, SettingsError
from polyrank.hub import offline_where_it_cannot_be_reached
from polyrank.models import MODELS
from polyrank.registry import Named


@pytest.fixture
def no_hub(monkeypatch):
    """A hub where nobody answers; trying again after a while fails the test."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", "https://127.0.0.1:1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("tried again"))


def test_a_model_on_a_hub_that_is_not_there_is_answered_at_once(no_hub):
    with pytest.raises(SettingsError, match=r"hub cannot be reached .*: give a folder"):
        MODELS.build(Named("hf", {"name": "nobody/nothing-of-that-name"})).model((), 2, 0)
    assert constants.HF_HUB_OFFLINE is False


def test_data_on_a_hub_that_is_not_there_are_answered_at_once(no_hub):
    with pytest.raises(DataError, match=r"hub cannot be reached .*: give a folder"):
        hf("nobody/nothing-of-that-name")
    assert constants.HF_HUB_OFFLINE is False


def test_folders_and_what_lies_behind_a_proxy_are_not_asked_for(no_hub, tmp_path, monkeypatch):
    with offline_where_it_cannot_be_reached(str(tmp_path)) as offline:
        assert not offline
    with offline_where_it_cannot_be_reached("a/b") as offline:
        assert offline
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:2")
    with offline_where_it_cannot_be_reached("a/b") as offline:
        assert not offline
