import zipfile
from pathlib import Path

import numpy as np
import pytest

from polyrank.datasets.npz import npz
from polyrank.errors import DataError

X = np.arange(24, dtype=np.uint8).reshape(6, 2, 2)
Y = np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8)


@pytest.fixture
def saved(tmp_path):
    def save(**arrays):
        path = tmp_path / "data.npz"
        np.savez_compressed(path, **{"train_x": X, "train_y": Y, **arrays})
        return str(path)

    return save


def test_images_are_kept_as_stored(saved):
    data = npz(saved(test_x=X[:2], test_y=Y[:2]))
    assert data.train_x.dtype == np.uint8
    assert np.array_equal(data.train_x, X)
    assert data.train_y.dtype == np.int64
    assert np.array_equal(data.train_y, Y)
    assert np.array_equal(data.test_x, X[:2])
    assert data.test_y.tolist() == [0, 1]
    assert data.label_names == ("0", "1", "2")
    assert data.train_groups is None


@pytest.mark.parametrize("dtype", [bool, np.int32, np.float16, np.float64])
def test_other_numbers_become_float32(saved, dtype):
    x = np.array([[0], [1], [1], [0], [1], [0]], dtype=dtype)
    data = npz(saved(train_x=x))
    assert data.train_x.dtype == np.float32
    assert np.array_equal(data.train_x, x)


def test_string_arrays_are_texts(saved):
    texts = ["", "ä", "b", "c", "d", "NA"]
    data = npz(saved(train_x=np.array(texts)))
    assert data.train_x.dtype == object
    assert data.train_x.tolist() == texts


def test_groups_may_be_numbers(saved):
    data = npz(saved(train_groups=np.array([7, 7, 8, 8, 9, 9])))
    assert data.train_groups.tolist() == ["7", "7", "8", "8", "9", "9"]


def test_numbers_that_no_row_has_are_no_labels(saved):
    """Three outputs of a model, and not eleven of which eight are never trained."""
    data = npz(saved(train_y=np.array([5, 0, 10, 10, 5, 0])))
    assert data.train_y.tolist() == [1, 0, 2, 2, 1, 0]
    assert data.train_y.dtype == np.int64
    assert data.label_names == ("0", "5", "10")
    assert data.empty_labels == ()


def test_labels_only_in_the_test_part_count(saved):
    data = npz(saved(test_x=X[:1], test_y=np.array([7])))
    assert data.label_names == ("0", "1", "2", "7")
    assert (data.test_y.tolist(), data.empty_labels) == ([3], (3,))


NAN = np.array([[0.0], [1.0], [np.nan], [0.0], [np.inf], [0.0]])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"train_y": Y[:4]}, "same number of rows, got train_x 6, train_y 4"),
        ({"test_x": X}, "expected test_x and test_y or neither, got train_x, train_y, test_x"),
        ({"test_x": X, "test_y": Y[:1]}, "got test_x 6, test_y 1"),
        ({"test_x": X[:, :1], "test_y": Y}, r"one kind, got uint8 .*\(2, 2\) and .*\(1, 2\)"),
        ({"test_x": X / 255, "test_y": Y}, "one kind, got uint8 .* and float32"),
        ({"train_x": NAN}, "train_x: .* NaN or infinity in 2 of 6 rows, first in row 2"),
        ({"train_x": np.full((6, 1), 1e300)}, "within float32, got NaN or infinity in 6 of 6"),
        ({"train_x": np.arange(6)}, r"train_x: .* got int64 of shape \(6,\)"),
        ({"train_x": np.zeros((6, 1), complex)}, "got complex128"),
        ({"train_x": np.zeros((6, 0))}, r"at least one row with values, got \(6, 0\)"),
        ({"train_x": X[:0], "train_y": Y[:0]}, r"at least one row .* got \(0, 2, 2\)"),
        ({"train_y": Y.astype(float)}, "train_y: expected integer labels .* got float64"),
        ({"train_y": Y.reshape(6, 1)}, r"train_y: .* got uint8 of shape \(6, 1\)"),
        ({"train_y": Y.astype(int) - 1}, "train_y: .* from 0 to 99,999 .* got -1 in row 0"),
        ({"train_y": Y.astype(int) * 10**9}, "99,999 as labels, got 2000000000 in row 2"),
        ({"train_groups": np.array(["a"])}, "got train_y 6, train_groups 1"),
        ({"train_groups": np.array(["a", "", "c", "d", "e", "f"])}, "train_groups: .* row 1"),
        ({"train_groups": np.zeros(6)}, "train_groups: expected strings or integers"),
    ],
)
def test_what_does_not_fit_is_named(saved, arrays, message):
    path = saved(**arrays)
    with pytest.raises(DataError, match=message) as caught:
        npz(path)
    assert path in str(caught.value)


def test_pickles_are_refused(saved):
    path = saved(train_x=np.array([{"a": 1}] * 6, dtype=object))
    with pytest.raises(DataError, match=r"cannot read train_x: .* unpickling them can run code"):
        npz(path)


def test_a_missing_array_is_named(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, images=X, train_y=Y)
    with pytest.raises(DataError, match="expected an array 'train_x', got train_y"):
        npz(str(path))


@pytest.mark.parametrize("name", ["nowhere.npz", "", "."])
def test_a_missing_file_is_named(name):
    with pytest.raises(DataError, match=f"data file '{name}': expected a file, got"):
        npz(name)


def test_cut_off_and_foreign_files_are_refused(saved, tmp_path):
    whole = Path(saved()).read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"text", b"\x80\x04N."):
        path = tmp_path / "cut.npz"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"cut\.npz: expected an \.npz archive"):
            npz(str(path))


def test_damaged_arrays_are_refused(saved):
    path = saved(train_x=np.random.default_rng(0).integers(0, 256, (6, 50, 50), dtype=np.uint8))
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("train_x.npy").header_offset + 2000
    with Path(path).open("r+b") as file:
        file.seek(start)
        file.write(b"\xff" * 200)
    with pytest.raises(DataError, match="cannot read train_x"):
        npz(path)


def test_a_header_that_promises_too_much_is_refused(tmp_path):
    path = tmp_path / "huge.npz"
    with zipfile.ZipFile(path, "w") as archive:
        header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (9, 99999999999999), }"
        head = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
        archive.writestr("train_x.npy", head)
    with pytest.raises(DataError, match="cannot read train_x"):
        npz(str(path))


def test_labels_may_be_texts(tmp_path):
    x = np.zeros((3, 2))
    labels = np.array(["dog", "cat", "dog"])
    np.savez(tmp_path / "t.npz", train_x=x, train_y=labels, test_x=x[:1], test_y=np.array(["owl"]))
    data = npz(str(tmp_path / "t.npz"))
    assert data.label_names == ("cat", "dog", "owl")
    assert (data.train_y.tolist(), data.test_y.tolist()) == ([1, 0, 1], [2])
    np.savez(tmp_path / "t.npz", train_x=x, train_y=labels, test_x=x[:1], test_y=np.array([1]))
    with pytest.raises(DataError, match="expected texts in both or integers in both"):
        npz(str(tmp_path / "t.npz"))
