"""Folders of images by label."""

import numpy as np
import pytest
from PIL import Image

from polyrank.datasets import load
from polyrank.datasets.load import check_files
from polyrank.errors import DataError, SettingsError


def save(path, value, *, size=(4, 3), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def read(folder, **options):
    return load(f"images:{folder}", seed=0, test=0.0, options=options)


def test_the_folder_is_the_label(tmp_path):
    for name, value in (("dog/2.png", 2), ("dog/10.png", 10), ("cat/1.png", 1)):
        save(tmp_path / name, value)
    (tmp_path / "dog" / "notes.txt").write_text("no image")
    save(tmp_path / ".thumbs" / "x.png", 9)
    data = read(tmp_path)
    assert (data.train_x.shape, data.train_x.dtype) == ((3, 3, 4), np.uint8)
    assert data.train_x[:, 0, 0].tolist() == [1, 10, 2]
    assert (data.label_names, data.train_y.tolist()) == (("cat", "dog"), [0, 1, 1])


def test_train_and_test_and_clients_may_stand_above(tmp_path):
    for part in ("train", "test"):
        for client in ("north", "south"):
            save(tmp_path / part / client / "a" / "1.png", 1)
            save(tmp_path / part / client / "b" / "1.png", 2)
    data = read(tmp_path, clients=True)
    assert data.train_groups.tolist() == ["north", "north", "south", "south"]
    assert data.test_y.tolist() == [0, 1, 0, 1]


def test_grey_images_beside_coloured_ones_become_coloured(tmp_path):
    save(tmp_path / "a" / "1.png", 7)
    save(tmp_path / "b" / "1.png", (1, 2, 3), mode="RGB")
    assert read(tmp_path).train_x[:, 0, 0].tolist() == [[7, 7, 7], [1, 2, 3]]


def test_images_of_other_sizes_are_resized_only_if_that_is_asked_for(tmp_path):
    save(tmp_path / "a" / "1.png", 7)
    save(tmp_path / "b" / "1.png", 7, size=(8, 8))
    with pytest.raises(DataError, match=r"got \(3, 4\) in .*a/1.png and \(8, 8\) in .*b/1.png"):
        read(tmp_path)
    assert read(tmp_path, size=[2, 5]).train_x.tolist() == np.full((2, 2, 5), 7).tolist()
    with pytest.raises(SettingsError, match=r"data.size = \[2\]"):
        read(tmp_path, size=[2])


def test_a_damaged_image_and_an_empty_folder_are_answered(tmp_path):
    with pytest.raises(DataError, match=r"expected images as .*/label/image.png, got none"):
        read(tmp_path)
    save(tmp_path / "a" / "1.png", 7)
    (tmp_path / "a" / "2.png").write_bytes((tmp_path / "a" / "1.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"2.png: cannot read the image"):
        read(tmp_path)
    with pytest.raises(DataError, match="expected a folder, got nothing"):
        check_files("images:nowhere", {})
