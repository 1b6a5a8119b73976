"""A box of an image, scaled to a square and perhaps mirrored: Pillow's bytes, faster.

Pillow's sums are whole numbers, so `native/resampling.c` has the same ones. Where it could not be
compiled, or should this Pillow scale in another way, there is no fast path and callers use Pillow.
Pixels are the same either way.

Shapes: C channels, H height, W width, S side.
"""

from __future__ import annotations

import ctypes
import logging
from functools import cache
from typing import Protocol

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from harness.data.steps import FILTERS
from harness.native import library

logger = logging.getLogger(__name__)

TALL_FIRST = int(PIL.__version__.split(".")[0]) >= 13  # noqa: PLR2004 - Pillow 13.0
"""Whether this Pillow scales the height first where that is less work; it rounds in between."""


class Scale(Protocol):
    """Scales one image."""

    def __call__(
        self, pixels: NDArray[np.uint8], side: int, interpolation: str, *, mirrored: bool
    ) -> NDArray[np.uint8]:
        """Return planes (C, S, S) of pixels (H, W) or (H, W, 3), whose lines are in one piece."""
        ...


@cache
def fast_scale() -> Scale | None:
    """Return the compiled function; None where it is missing or does not give Pillow's bytes."""
    compiled = library("resampling")
    if compiled is None:
        return None
    scale = _scale_of(compiled)
    return scale if equals_pillow(scale) else None


def height_first(width: int, height: int, side: int) -> bool:
    """Return whether this Pillow scales the height of an image before its width."""
    return TALL_FIRST and height > side and height - side > 2 * (width - side)


def pillow_scale(
    pixels: NDArray[np.uint8], side: int, interpolation: str, *, mirrored: bool
) -> NDArray[np.uint8]:
    """Do the same with Pillow."""
    image = Image.fromarray(np.ascontiguousarray(pixels)).resize(
        (side, side), FILTERS[interpolation]
    )
    scaled = np.asarray(image)[:, ::-1] if mirrored else np.asarray(image)
    return scaled[None] if scaled.ndim == 2 else scaled.transpose(2, 0, 1)  # noqa: PLR2004


def _scale_of(library: ctypes.CDLL) -> Scale:
    """Return `crop_resized` of the library in Python's terms."""
    crop_resized = library.crop_resized
    crop_resized.restype = ctypes.c_int
    pointer, number = ctypes.c_void_p, ctypes.c_int
    crop_resized.argtypes = [pointer, ctypes.c_long, *[number] * 7, pointer]

    def scale(
        pixels: NDArray[np.uint8], side: int, interpolation: str, *, mirrored: bool
    ) -> NDArray[np.uint8]:
        height, width = pixels.shape[:2]
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]  # noqa: PLR2004
        assert pixels.dtype == np.uint8, pixels.dtype
        assert pixels.strides[1:] == (channels, 1)[3 - pixels.ndim :], "a line is not in one piece"
        assert channels in {1, 3}, channels
        assert min(height, width, side) > 0, (height, width, side)
        planes = np.empty((channels, side, side), np.uint8)
        failed = crop_resized(
            *(pixels.ctypes.data, pixels.strides[0], channels, width, height, side),
            *(interpolation == "bicubic", mirrored, height_first(width, height, side)),
            planes.ctypes.data,
        )
        if failed:
            raise MemoryError
        return planes

    return scale


# (height, width, side): boxes that shrink, grow, do both, and take each order of the axes.
_PROBES = ((5, 9, 12), (40, 61, 12), (61, 23, 12), (90, 30, 24), (12, 60, 24), (33, 66, 33))


def equals_pillow(scale: Scale) -> bool:
    """Return whether a function gives this Pillow's bytes for boxes of noise; warns if not."""
    noise = np.random.default_rng(0).integers(0, 256, (90, 66, 3), np.uint8)
    equal = all(
        np.array_equal(
            scale(noise[:height, :width], side, interpolation, mirrored=True),
            pillow_scale(noise[:height, :width], side, interpolation, mirrored=True),
        )
        for height, width, side in _PROBES
        for interpolation in FILTERS
    )
    if not equal:
        logger.warning("Pillow %s scales in a way of its own, so it scales all", PIL.__version__)
    return equal
