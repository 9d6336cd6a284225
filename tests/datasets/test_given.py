"""Data that are handed over in Python."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from polyrank.datasets import Data, load
from polyrank.datasets.given import handed_over
from polyrank.errors import DataError, SettingsError

LABELS = np.array([5, 0, 5, 7])
GREY = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3)
COLOUR = np.arange(4 * 18, dtype=np.uint8).reshape(4, 2, 3, 3)


class Items(Dataset):
    """A data set of PyTorch of any items."""

    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, place):
        return self.items[place]


def same(data: Data, x, names=("0", "5", "7")):
    np.testing.assert_array_equal(data.train_x, x)
    assert data.label_names == names
    assert data.train_y.tolist() == [1, 0, 1, 2]
    assert data.train_y.dtype == np.int64


@pytest.mark.parametrize("x", [GREY, COLOUR])
def test_images_of_arrays_tensors_and_pillow_are_the_same(x):
    from PIL import Image

    first = x[:, None] if x.ndim == 3 else np.moveaxis(x, -1, 1)  # as torch has them
    tensors = torch.tensor(first)
    same(handed_over((x, LABELS), {}), x)
    same(handed_over((tensors, torch.tensor(LABELS)), {}), x)
    same(handed_over(TensorDataset(tensors, torch.tensor(LABELS)), {}), x)
    pillow = [(Image.fromarray(image), int(y)) for image, y in zip(x, LABELS, strict=True)]
    same(handed_over(Items(*pillow), {}), x)
    assert handed_over(Items(*pillow), {}).train_x.dtype == np.uint8


def test_numbers_and_texts_may_be_inputs_and_texts_labels():
    rows = np.arange(8.0).reshape(4, 2)
    same(handed_over(Items(*zip(rows, LABELS, strict=True)), {}), rows.astype(np.float32))
    data = handed_over(Items(("a text", "yes"), ("another one", "no")), {})
    assert data.train_x.tolist() == ["a text", "another one"]
    assert (data.label_names, data.train_y.tolist()) == (("no", "yes"), [1, 0])


def test_a_mapping_names_the_clients_and_labels_go_by_name():
    parts = {
        "north/1": (GREY[:1], LABELS[:1]),
        "south": TensorDataset(torch.tensor(GREY[1:, None]), torch.tensor(LABELS[1:])),
    }
    data = handed_over(parts, {})
    same(data, GREY)
    assert data.train_groups.tolist() == ["north/1", "south", "south", "south"]


def test_data_frames_one_a_client_share_their_columns():
    parts = {
        "a": pd.DataFrame({"age": [1.0, 2.0], "colour": ["red", "blue"], "y": ["n", "y"]}),
        "b": pd.DataFrame({"age": [3.0, np.nan], "colour": ["red", "green"], "y": ["n", "n"]}),
    }
    data = handed_over(parts, {"target": "y"})
    assert data.columns.names == (
        *("age", "age is missing", "colour = blue", "colour = green", "colour = red"),
    )
    assert data.train_groups.tolist() == ["a", "a", "b", "b"]


def test_data_sets_of_hugging_face_need_no_folder():
    datasets = pytest.importorskip("datasets")
    one = datasets.Dataset.from_dict({"text": ["a", "b"], "label": ["x", "y"], "u": ["1", "2"]})
    data = handed_over(one, {"input": "text", "group": "u"})
    assert data.train_x.tolist() == ["a", "b"]
    assert data.train_groups.tolist() == ["1", "2"]
    both = datasets.DatasetDict({"train": one, "test": one.select([1])})
    assert handed_over(both, {"input": "text"}).test_x.tolist() == ["b"]
    clients = handed_over({"n": one, "s": one.select([1])}, {"input": "text"})
    assert clients.train_groups.tolist() == ["n", "n", "s"]
    with pytest.raises(DataError, match="s: expected a column 'words', got text, label, u"):
        handed_over({"s": one}, {"input": "words"})


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ([1, 2, 3], {}, "item 0: expected a pair of input and label, got int"),
        (Items((GREY[0], 1), (GREY[0][:1], 0)), {}, r"\(2, 3\) in item 0 and \(1, 3\) in item 1"),
        (Items((GREY[0], [1, 0])), {}, r"item 0: expected one label, got shape \(2,\)"),
        (Items((GREY[0], 1.5)), {}, "expected integer labels"),
        (Items(("a", 1), (GREY[0], 0)), {}, "expected texts in all items"),
        (Items(), {}, "expected at least one row"),
        ((GREY, LABELS[:3]), {}, "expected the same number of rows"),
        (iter([]), {}, "expected a data frame, a data set of PyTorch .* got list_iterator"),
        ("rows.csv", {}, "got str"),
        ({}, {}, "expected a mapping with at least one client"),
    ],
)
def test_what_cannot_be_used_is_answered(data, options, message):
    with pytest.raises(DataError, match=message):
        handed_over(data, options)


def test_options_go_with_the_kind_of_data():
    frame = pd.DataFrame({"x": [1, 2], "y": ["a", "b"]})
    with pytest.raises(SettingsError, match="a data frame: option 'target' is required"):
        handed_over(frame, {})
    with pytest.raises(SettingsError, match="unknown option 'input'"):
        handed_over(frame, {"target": "y", "input": "x"})
    with pytest.raises(SettingsError, match="unknown option 'target'"):
        handed_over((GREY, LABELS), {"target": "y"})


def test_without_the_data_a_run_says_to_hand_them_over_again():
    with pytest.raises(DataError, match=r"hand them over again, as in polyrank\.resume"):
        load("given", seed=0)
