"""Folders of images, one folder for each label."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from polyrank.datasets import checks
from polyrank.datasets.data import Data
from polyrank.datasets.pixels import has_colour, pixels_of
from polyrank.errors import DataError, SettingsError

T = TypeVar("T")

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm"})
PARTS = {"train", "test"}


def images(folder: str, *, size: list[int] | None = None, clients: bool = False) -> Data:
    """Read images from ``FOLDER/label/*.png``, and other endings of images.

    Folders ``train`` and ``test`` may stand above the labels. Files and folders that begin with
    a dot, and files that are no images by their ending, are left out.

    Args:
        folder: where the folders of labels are.
        size: [height, width] to which images are resized; left out, all must have one size.
        clients: whether folders of clients stand above those of labels:
            ``FOLDER/client/label/*.png``.

    Raises:
        SettingsError: ``size`` is no size.
        DataError: the package pillow is missing, there is no folder or image, or an image is
            damaged, of another size, or has more than 8 bits per colour.
    """
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise SettingsError(f"data.size = {size}: expected [height, width], two numbers from 1 up")
    root = checks.existing_folder(folder)
    names = {path.name for path in _folders(root)}
    tops = [root / "train", root / "test"] if names == PARTS else [root]
    found = [list(_files(top, clients=clients)) for top in tops]
    for top, files in zip(tops, found, strict=True):
        if not files:
            form = "client/label/image.png" if clients else "label/image.png"
            raise DataError(f"{top}: expected images as {top.name}/{form}, got none")
    x = [_read([path for path, *_ in files], size) for files in found]
    checks.same_kind(x[0], x[-1], folder)
    labels, label_names = checks.text_labels(
        [label for files in found for _, label, _ in files], folder
    )
    n = len(x[0])
    groups = np.array([client for *_, client in found[0]], np.str_) if clients else None
    return Data(
        train_x=x[0],
        train_y=labels[:n],
        test_x=x[1] if len(x) > 1 else x[0][:0],
        test_y=labels[n:],
        label_names=label_names,
        source=f"images:{folder}",
        train_groups=groups,
    )


def _files(top: Path, *, clients: bool) -> Iterator[tuple[Path, str, str]]:
    """Yield the path, label and client of every image, in one order on every machine."""
    for client in _folders(top) if clients else [top]:
        for label in _folders(client):
            for path in sorted(label.iterdir()):
                if path.suffix.lower() in ENDINGS and path.is_file() and path.name[0] != ".":
                    yield path, label.name, client.name


def _folders(top: Path) -> list[Path]:
    return sorted(path for path in top.iterdir() if path.is_dir() and path.name[0] != ".")


def _read(paths: Sequence[Path], size: Sequence[int] | None) -> np.ndarray:
    """Return uint8 images (n, height, width), or (..., 3) if one of them has colour."""
    colour = any(_each(path, has_colour) for path in paths)
    stacked = np.empty((0, 0, 0))
    for row, path in enumerate(paths):
        pixels = _each(path, lambda image: pixels_of(_resized(image, size), colour=colour))
        if row == 0:
            stacked = np.empty((len(paths), *pixels.shape), dtype=np.uint8)
        if pixels.shape != stacked.shape[1:]:
            raise DataError(
                f"expected images of one size, got {stacked.shape[1:3]} in {paths[0]} and "
                f"{pixels.shape[:2]} in {path}: data.size = [height, width] resizes them"
            )
        stacked[row] = pixels
    return stacked


def _each(path: Path, do: Callable[[Any], T]) -> T:
    """Open an image, and say which one it was that cannot be read."""
    try:
        import PIL.Image
    except ImportError as error:
        raise DataError("images need the package 'pillow': pip install 'polyrank[hub]'") from error
    try:
        with PIL.Image.open(path) as image:
            return do(image)
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot read the image: {error}") from error


def _resized(image: Any, size: Sequence[int] | None) -> Any:  # noqa: ANN401 - of pillow
    if size is None:
        return image
    mode = "RGB" if has_colour(image) else image.mode  # a palette cannot be resized smoothly
    return image.convert(mode).resize((size[1], size[0]))
