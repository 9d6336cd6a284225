import numpy as np
import pytest

from polyrank.errors import SettingsError
from polyrank.runs.loading import load_split
from polyrank.settings.toml import make_settings


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"cohort_size": 4}, "cohort_size = 4: .* number of clients, which is 3"),
        ({"quorum": 4}, "quorum = 4: .* which are 3 of 3"),
    ],
)
def test_a_cohort_is_checked_where_only_the_data_tell_how_many_clients_there_are(
    tmp_path, asked, said
):
    x, groups = np.arange(60, dtype=np.uint8).reshape(30, 2), np.arange(30) % 3
    np.savez(tmp_path / "a.npz", train_x=x, train_y=np.arange(30) % 2, train_groups=groups)
    document = {"data": f"{tmp_path}/a.npz", "partition": "natural"}
    assert len(load_split(make_settings({**document, "cohort_size": 3}))[1].clients) == 3
    with pytest.raises(SettingsError, match=said):
        load_split(make_settings({**document, **asked}))
