import numpy as np
import pytest

from polyrank.datasets import load
from polyrank.errors import DataError, SettingsError


def save(path, labels, **more):
    path.parent.mkdir(exist_ok=True)
    x = np.full((len(labels), 2, 2), len(labels), dtype=np.uint8)
    np.savez(path, **{"train_x": x, "train_y": np.array(labels), **more})
    return str(path)


def test_each_file_is_a_group_named_by_its_file_name(tmp_path):
    files = [save(tmp_path / "oslo.npz", [0, 1, 1]), save(tmp_path / "rome.v2.npz", [4, 4])]
    data = load(files, seed=0, test=0)
    assert data.train_groups.tolist() == ["oslo"] * 3 + ["rome.v2"] * 2
    assert data.train_y.tolist() == [0, 1, 1, 2, 2]
    assert data.train_x[:, 0, 0].tolist() == [3, 3, 3, 2, 2]
    assert data.label_names == ("0", "1", "4")


def test_test_parts_are_joined(tmp_path):
    brought = {"test_x": np.zeros((1, 2, 2), dtype=np.uint8), "test_y": np.array([5])}
    files = [
        save(tmp_path / "a.npz", [0, 1], **brought),
        save(tmp_path / "b.npz", [1]),
        save(tmp_path / "c.npz", [1, 2], **{**brought, "test_y": np.array([2])}),
    ]
    data = load(files, seed=0)
    assert data.test_y.tolist() == [3, 2]
    assert data.train_y.tolist() == [0, 1, 1, 1, 2]
    assert data.label_names == ("0", "1", "2", "5")


def test_files_without_test_parts_share_a_drawn_one(tmp_path):
    files = [save(tmp_path / "a.npz", [0, 1] * 10), save(tmp_path / "b.npz", [0, 1] * 5)]
    data = load(files, seed=0)
    assert np.bincount(data.test_y).tolist() == [3, 3]
    assert len(data.train_groups) == len(data.train_y) == 24


def test_named_labels_are_matched_by_name(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nx,cat\ny,eel\n")
    (tmp_path / "b.csv").write_text("text,label\nz,dog\nw,cat\n")
    data = load([f"csv:{tmp_path}/a.csv", f"{tmp_path}/b.csv"], seed=0, test=0)
    assert data.label_names == ("cat", "dog", "eel")
    assert data.train_y.tolist() == [0, 2, 1, 0]
    assert data.train_x.tolist() == ["x", "y", "z", "w"]
    assert data.train_groups.tolist() == ["a", "a", "b", "b"]


def test_numbers_are_matched_as_numbers_where_each_file_has_some_of_them(tmp_path):
    files = [save(tmp_path / "a.npz", [2, 10]), save(tmp_path / "b.npz", [10, 9, 0])]
    data = load(files, seed=0, test=0)
    assert data.label_names == ("0", "2", "9", "10")
    assert data.train_y.tolist() == [1, 3, 3, 2, 0]


def test_options_go_to_each_file(tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("q,label\nx,0\n")
    data = load([f"{tmp_path}/a.csv", f"{tmp_path}/b.csv"], seed=0, test=0, options={"text": "q"})
    assert data.train_x.tolist() == ["x", "x"]


def test_two_files_of_one_name_are_refused(tmp_path):
    files = [save(tmp_path / "x/a.npz", [0]), save(tmp_path / "y/a.npz", [0])]
    with pytest.raises(DataError, match=r"x/a\.npz, .*y/a\.npz: .* got 'a' for each"):
        load(files, seed=0)


def test_names_and_numbers_do_not_mix(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nx,cat\n")
    (tmp_path / "b.csv").write_text("text,label\nz,0\n")
    with pytest.raises(DataError, match=r"got numbers in .*b\.csv and names in .*a\.csv"):
        load([f"{tmp_path}/a.csv", f"{tmp_path}/b.csv"], seed=0)


def test_inputs_of_two_kinds_are_refused(tmp_path):
    floats = np.zeros((1, 2, 2))
    files = [save(tmp_path / "a.npz", [0]), save(tmp_path / "b.npz", [0], train_x=floats)]
    with pytest.raises(DataError, match=r"a\.npz and .*b\.npz: .* got uint8 .* and float32"):
        load(files, seed=0)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([], "expected at least one file, got none"),
        (["a.npz", "a.npz"], "'a.npz' is there twice"),
        (["digits"], "expected .npz, .csv, .parquet or .jsonl files, got 'digits'"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(sources, message):
    with pytest.raises(DataError, match=message):
        load(sources, seed=0)


def test_an_option_that_one_file_does_not_have_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="unknown option 'text'"):
        load([save(tmp_path / "a.npz", [0])], seed=0, options={"text": "q"})
