import numpy as np
import pytest

from polyrank.datasets import DATASETS, Data, load
from polyrank.datasets.load import check_files, check_source
from polyrank.errors import DataError, PolyRankError, SettingsError, UnknownNameError


def test_digits_get_a_stratified_test_part_of_a_fifth():
    data = load("digits", seed=0)
    assert (len(data.train_y), len(data.test_y)) == (1438, 359)
    whole = np.bincount(np.concatenate([data.train_y, data.test_y]))
    assert (np.abs(np.bincount(data.test_y) - 0.2 * whole) <= 1).all()
    assert data.train_x.shape == (1438, 8, 8)


def test_the_test_part_depends_on_the_seed_only():
    first, again, other = (load("digits", seed=seed).test_x for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_no_test_part_on_request():
    assert len(load("digits", seed=0, test=0).test_y) == 0


@pytest.mark.parametrize("prefix", ["npz:", ""])
def test_a_test_part_that_is_brought_is_kept(tmp_path, prefix):
    x, y = np.arange(8, dtype=np.uint8).reshape(4, 2), np.array([0, 0, 1, 1])
    np.savez(tmp_path / "a.npz", train_x=x, train_y=y, test_x=x[:1], test_y=y[:1])
    data = load(f"{prefix}{tmp_path}/a.npz", seed=0)
    assert np.array_equal(data.train_x, x)
    assert np.array_equal(data.test_x, x[:1])


def test_groups_follow_their_rows_into_the_training_part(tmp_path):
    x = np.arange(40, dtype=np.uint8).reshape(20, 2)
    groups = np.array([f"g{row // 4}" for row in range(20)])
    np.savez(tmp_path / "a.npz", train_x=x, train_y=np.arange(20) % 2, train_groups=groups)
    data = load(f"npz:{tmp_path}/a.npz", seed=0)
    assert len(data.test_y) == 4
    assert data.train_groups.tolist() == [groups[row // 2] for row in data.train_x[:, 0]]


def test_options_are_checked_by_name_and_type():
    with pytest.raises(SettingsError, match=r"'csv:a': unknown option 'txt' .*did you mean 'text'"):
        load("csv:a", seed=0, options={"txt": "q"})
    with pytest.raises(SettingsError, match=r"option text = 3: .* string"):
        load("csv:a", seed=0, options={"text": 3})


@pytest.mark.parametrize("source", ["digit", "npz", "data.txt"])
def test_an_unknown_source_says_what_there_is(source):
    with pytest.raises(PolyRankError, match=r"npz:PATH|data file ''"):
        load(source, seed=0)


def test_a_share_that_is_none_is_refused():
    with pytest.raises(SettingsError, match=r"test = 1.5"):
        load("digits", seed=0, test=1.5)


def test_a_loader_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "my_polyrank_data.py").write_text(
        "import numpy as np\n"
        "from polyrank.datasets import Data\n"
        "def make(argument, *, rows: int = 4):\n"
        "    x, y = np.ones((rows, 2), np.float32), np.arange(rows) % 2\n"
        "    return Data(x, y, x[:0], y[:0], ('a', 'b'), 'mine')\n"
        "def wrong(argument):\n"
        "    return 3\n"
        "def gaps(argument):\n"
        "    x, y = np.ones((2, 2), np.float32), np.array([0, 5])\n"
        "    return Data(x, y, x[:0], y[:0], ('0', '5'), 'mine')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    data = load("my_polyrank_data:make", seed=0, test=0, options={"rows": 6})
    assert isinstance(data, Data)
    assert len(data.train_y) == 6
    with pytest.raises(DataError, match="expected a Data, got int"):
        load("my_polyrank_data:wrong", seed=0)
    with pytest.raises(DataError, match=r"labels from 0 to 1, .* 2 label_names, got 0 to 5"):
        load("my_polyrank_data:gaps", seed=0)
    with pytest.raises(UnknownNameError, match="no module 'not_there'"):
        load("not_there:make", seed=0)


def test_files_are_looked_for_without_reading_them(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff")
    there = str(tmp_path / "a.csv")
    for source in ("digits", "hf:a/b.csv", there, [there, f"csv:{there}"]):
        check_files(source, {})
    for source, options in (
        ("npz:gone.npz", {}),
        ([there, "gone.npz"], {}),
        (there, {"test_path": "gone.npz"}),
    ):
        with pytest.raises(DataError, match=r"data file 'gone\.npz': expected a file, got nothing"):
            check_files(source, options)


@pytest.mark.parametrize("name", list(DATASETS))
def test_a_source_can_be_checked_without_reading_it(name):
    check_source(f"{name}:nowhere", {"target": "y"} if name == "table" else {})
    with pytest.raises(SettingsError, match="unknown option 'zzz'"):
        check_source([f"{name}:nowhere"], {"zzz": 1})
