import sys

import numpy as np
import pytest

from polyrank.datasets.hf import hf
from polyrank.errors import DataError

pytest.importorskip("datasets.exceptions")

from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Image,
    Value,
    disable_progress_bars,
)

disable_progress_bars()
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 5, 6), dtype=np.uint8)
COLOURS = np.random.default_rng(1).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)


@pytest.fixture
def saved(tmp_path):
    def save(features=None, **splits):
        made = DatasetDict({name: Dataset.from_dict(d, features) for name, d in splits.items()})
        made.save_to_disk(str(tmp_path / "saved"))
        return str(tmp_path / "saved")

    return save


TEXTS = {"text": ["a", "", "c"], "label": [1, 0, 1], "user": ["u", "v", "u"]}
CLASSES = ClassLabel(names=["neg", "pos"])


def test_texts_with_class_labels(saved):
    features = Features({"text": Value("string"), "label": CLASSES, "user": Value("string")})
    data = hf(saved(features, train=TEXTS, test=TEXTS), group="user")
    assert data.train_x.tolist() == ["a", "", "c"]
    assert data.train_y.tolist() == [1, 0, 1]
    assert data.train_y.dtype == np.int64
    assert data.label_names == ("neg", "pos")
    assert data.test_x.tolist() == ["a", "", "c"]
    assert data.train_groups.tolist() == ["u", "v", "u"]


@pytest.mark.parametrize("pixels", [PIXELS, COLOURS])
def test_images_are_uint8(saved, pixels):
    from PIL import Image as Pillow

    features = Features({"img": Image(), "label": Value("int32")})
    part = {"img": [Pillow.fromarray(image) for image in pixels], "label": [0, 1, 2, 0]}
    data = hf(saved(features, train=part))
    assert data.train_x.dtype == np.uint8
    assert np.array_equal(data.train_x, pixels)
    assert data.label_names == ("0", "1", "2")
    assert len(data.test_y) == 0


def test_palettes_become_colours(saved):
    from PIL import Image as Pillow

    palette = Pillow.fromarray(COLOURS[0]).quantize(256)
    data = hf(
        saved(Features({"i": Image(), "label": CLASSES}), train={"i": [palette], "label": [0]})
    )
    assert np.array_equal(data.train_x[0], np.asarray(palette.convert("RGB")))


PAIRS = {"prompt": ["2 + 2 =", "Who?"], "completion": [" 4", ""]}
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def test_prompts_with_completions_need_no_labels(saved):
    data = hf(saved(train={**PAIRS, "site": ["a", "b"]}, test=PAIRS), group="site")
    expected = [{"prompt": "2 + 2 =", "completion": " 4"}, {"prompt": "Who?", "completion": ""}]
    assert data.train_x.tolist() == data.test_x.tolist() == expected
    assert (data.train_y.tolist(), data.label_names, data.labelled) == ([0, 0], ("0",), False)
    assert data.train_groups.tolist() == ["a", "b"]


def test_prompts_with_completions_under_other_names_and_with_labels(saved):
    part = {"q": ["a"], "a": ["b"], "text": ["c"], "label": ["x"]}
    data = hf(saved(train=part), prompt="q", completion="a")
    assert data.train_x.tolist() == [{"prompt": "a", "completion": "b"}]
    assert (data.label_names, data.labelled) == (("x",), True)


def test_texts_without_labels(saved):
    data = hf(saved(train={"text": ["a", "b"], "id": [1, 2]}))
    assert (data.train_x.tolist(), data.labelled) == (["a", "b"], False)
    assert hf(saved(train={**PAIRS, "label": [0, 1]}), input="prompt").train_x.tolist() == [
        "2 + 2 =",
        "Who?",
    ]


def test_conversations_lose_only_what_is_null(saved):
    """A data set has every key in every message, as null where it is not."""
    calls = [{"role": "user", "content": "Hi", "tool": "clock"}, CHAT[1]]
    part = {"messages": [CHAT, calls], "prompt": ["Hi", "Hi"]}
    expected = [{"messages": CHAT}, {"messages": calls}]
    assert hf(saved(train=part)).train_x.tolist() == expected
    assert hf(saved(train=part), input="prompt").train_x.tolist() == ["Hi", "Hi"]
    again = {"talk": [CHAT, calls], "prompt": ["Hi", "Hi"]}
    assert hf(saved(train=again), input="talk").train_x.tolist() == expected


@pytest.mark.parametrize(
    ("part", "options", "message"),
    [
        ({"q": ["a"], "a": ["b"]}, {"prompt": "q"}, "expected a column 'completion', got q, a"),
        (PAIRS, {"input": "prompt", "prompt": "prompt"}, "one column of texts, or prompt and"),
        ({"prompt": [CHAT], "completion": ["a"]}, {}, r"'prompt': expected texts, got List"),
        ({"prompt": ["a", "b"], "completion": ["c", None]}, {}, r"'completion': .* row 1 is null"),
        (
            {"messages": [CHAT, []]},
            {},
            r"row 1: 'messages': expected a list of objects .* got \[\]",
        ),
        ({"messages": [[{"role": "user", "content": None}], CHAT]}, {}, "row 0: 'messages'"),
    ],
)
def test_texts_that_cannot_be_used_are_named(saved, part, options, message):
    with pytest.raises(DataError, match=message):
        hf(saved(train=part), **options)


def test_labels_are_in_both_splits_or_in_none(saved):
    with pytest.raises(DataError, match="expected a column 'label', got text"):
        hf(saved(train={"text": ["a"]}, test={"text": ["a"], "label": [0]}))


def test_string_labels_are_numbered_over_both_splits(saved):
    other = {"text": ["x"], "label": ["m"]}
    data = hf(saved(train={"text": ["a", "b"], "label": ["n", "l"]}, dev=other), test_split="dev")
    assert data.label_names == ("l", "m", "n")
    assert data.train_y.tolist() == [2, 0]
    assert data.test_y.tolist() == [1]


def test_one_split_saved_alone_is_the_training_split(tmp_path):
    Dataset.from_dict({"text": ["a"], "label": [0]}).save_to_disk(str(tmp_path / "one"))
    assert hf(str(tmp_path / "one")).train_x.tolist() == ["a"]


def test_a_saved_format_changes_nothing(tmp_path):
    made = Dataset.from_dict({"text": ["a"], "label": [0]}).with_format("numpy", columns=["label"])
    made.save_to_disk(str(tmp_path / "one"))
    assert hf(str(tmp_path / "one")).train_x.tolist() == ["a"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "lable"}, "expected a column 'lable', got text, label, user"),
        ({"group": "site"}, "expected a column 'site', got text, label, user"),
        ({"input": "image"}, "expected a column 'image', got"),
        ({"input": "label"}, "column 'label': expected texts or images, got .*int64"),
        ({}, "expected one column of texts or images, got text, user out of .* option input"),
        ({"train_split": "all"}, "expected a split 'all', got train"),
        ({"test_split": "dev"}, "expected a split 'dev', got train"),
        ({"test_split": "train"}, "expected two splits, got 'train' to train and test"),
    ],
)
def test_what_is_not_there_is_named(saved, options, message):
    with pytest.raises(DataError, match=message):
        hf(saved(train=TEXTS), **options)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"text": ["a", None], "label": [0, 1]}, "'text': .* row 1 is null"),
        ({"text": ["a", "b"], "label": [0, None]}, "'label': .* row 1 is null"),
        ({"text": ["a", "b"], "label": [0.5, 1.0]}, "'label'.* got float64"),
        ({"text": ["a", "b"], "label": [-1, -1]}, r"split without labels.* got -1 in row 0"),
    ],
)
def test_values_that_cannot_be_used_are_named(saved, part, message):
    with pytest.raises(DataError, match=message):
        hf(saved(train=part), input="text")


def test_images_of_two_sizes_are_refused(saved):
    from PIL import Image as Pillow

    images = [Pillow.fromarray(PIXELS[0]), Pillow.fromarray(PIXELS[1, :3])]
    features = Features({"image": Image(), "label": CLASSES})
    with pytest.raises(DataError, match=r"got \(5, 6\) in row 0 and \(3, 6\) in row 1"):
        hf(saved(features, train={"image": images, "label": [0, 1]}))


def test_damaged_missing_and_deep_images_are_refused(saved, tmp_path):
    from PIL import Image as Pillow

    deep = tmp_path / "deep.png"
    Pillow.fromarray(PIXELS[0].astype(np.uint16) * 200).save(deep)
    features = Features({"image": Image(), "label": CLASSES})
    for bad, message in (
        ({"bytes": b"no image", "path": None}, "cannot identify"),
        (None, "null"),
        (str(deep), "expected 8 bits per colour, got mode 'I;16"),
    ):
        with pytest.raises(DataError, match=f"row 0: cannot read the image: .*{message}"):
            hf(saved(features, train={"image": [bad], "label": [0]}))


def test_splits_that_number_labels_differently_are_refused(tmp_path):
    def part(names):
        features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
        return Dataset.from_dict({"text": ["a"], "label": [0]}, features)

    both = DatasetDict({"train": part(["x", "y"]), "test": part(["y", "x"])})
    both.save_to_disk(str(tmp_path / "both"))
    with pytest.raises(DataError, match="the same labels in all splits"):
        hf(str(tmp_path / "both"))


def test_a_folder_that_is_no_data_set_is_refused(tmp_path):
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(DataError, match=r"expected a data set of the hub or a folder"):
        hf(str(tmp_path))


@pytest.mark.parametrize("name", ["datasets", "datasets.exceptions"])
def test_a_missing_package_says_how_to_install_it(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DataError, match=r"pip install 'polyrank\[hub\]'"):
        hf("imdb")
