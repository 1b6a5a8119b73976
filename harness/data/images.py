"""Rows of a table -> prepared images: opened, converted, through the prefix of a pipeline."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from harness.contracts import SampleTable
from harness.data.cache import PixelCache, Stamp
from harness.data.transforms import Pipeline, pixels_of
from harness.errors import HarnessError

UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)
"""What PIL raises for a file that is not the image it claims to be."""


def open_image(table: SampleTable, row: int) -> Image.Image:
    """Return the pixels of one row, whatever their mode.

    Raises:
        HarnessError: The file is missing or no readable image.
    """
    if table.images is not None:
        return Image.fromarray(table.images[row])
    path = image_path(table, row)
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except FileNotFoundError:
        raise HarnessError(f"image {path} is missing") from None
    except UnidentifiedImageError:
        raise HarnessError(f"image {path} is not an image, or damaged") from None
    except UNREADABLE as error:
        raise HarnessError(f"image {path} cannot be read: {error}") from error


def image_path(table: SampleTable, row: int) -> Path:
    """Return where the file of one row lies."""
    assert table.paths is not None
    return (table.root or Path()) / table.paths[row]


def about_image(error: HarnessError, table: SampleTable, row: int) -> HarnessError:
    """Return the error with the image it is about in front."""
    if table.paths is not None:
        name = str(image_path(table, row))
    else:
        name = f"{table.sample_id[row]} of data set {table.name!r}"
    return HarnessError(f"image {name}: {error.message}", hint=error.hint)


class PreparedImages:
    """Prepared images by row: uint8 arrays (H, W) or (H, W, 3).

    The prefix of a pipeline draws nothing, so kept pixels are those that a new preparation
    would give. What the cache has no room for is prepared at each use.
    """

    def __init__(
        self, table: SampleTable, pipeline: Pipeline, *, cache: PixelCache | None
    ) -> None:
        """Keep pixels in `cache`; None keeps none."""
        self.table = table
        self.pipeline = pipeline
        self._cache = cache

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        """Return the prepared pixels of one row; callers must not change them.

        Raises:
            HarnessError: The image is unreadable or does not fit the pipeline.
        """
        if self._cache is None:
            return self.prepare(row)
        kept = self._cache.trusted(row)
        if kept is not None:
            return kept
        source = None if self.table.paths is None else image_path(self.table, row)
        kept = self._cache.get(row, source)
        if kept is not None:
            return kept
        stamp = Stamp.of(source)  # from before it is read: a file that changes is read again
        pixels = self.prepare(row)
        self._cache.put(row, pixels, stamp)
        return pixels

    def prepare(self, row: int) -> NDArray[np.uint8]:
        """Return the pixels of one row from its file, past the cache."""
        opened = open_image(self.table, row)
        try:
            return pixels_of(self.pipeline.prepare(opened))
        except HarnessError as error:
            raise about_image(error, self.table, row) from error
