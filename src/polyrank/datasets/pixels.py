"""Images of the library pillow as arrays; the library itself is not imported."""

from typing import Any

import numpy as np

_COLOUR = ("RGB", "RGBA", "P", "CMYK", "YCbCr", "HSV", "LAB")
_GREY = ("L", "1", "LA")


def has_colour(image: Any) -> bool:  # noqa: ANN401 - of pillow
    """Tell whether an image has colours; palettes and what is not RGB count as such."""
    return image.mode in _COLOUR


def pixels_of(image: Any, *, colour: bool) -> np.ndarray:  # noqa: ANN401 - of pillow
    """Return an image as uint8 (height, width), or with colour (height, width, 3).

    Transparency is dropped.

    Raises:
        ValueError: it has more than 8 bits per colour.
    """
    if image.mode not in (*_COLOUR, *_GREY):
        raise ValueError(f"expected 8 bits per colour, got mode {image.mode!r}")
    return np.asarray(image.convert("RGB" if colour else "L"), dtype=np.uint8)
