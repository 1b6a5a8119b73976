"""Rows of a table -> prepared images: opened, converted, through the prefix of a pipeline."""

from __future__ import annotations

import struct
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from harness.contracts import SampleTable
from harness.data.transforms import Pipeline
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
    """Prepared images by row, kept in memory as long as there is room.

    The prefix of a pipeline draws nothing, so a kept image has the pixels that a new one would
    have; small data sets are decoded once, larger ones keep what came first.
    """

    def __init__(self, table: SampleTable, pipeline: Pipeline, *, memory: int) -> None:
        """Keep up to `memory` bytes of pixels; 0 keeps none."""
        self.table = table
        self.pipeline = pipeline
        self._kept: dict[int, Image.Image] = {}
        self._room = memory

    def __getitem__(self, row: int) -> Image.Image:
        """Return the prepared image of one row; callers must not change it."""
        kept = self._kept.get(row)
        if kept is not None:
            return kept
        opened = open_image(self.table, row)
        try:
            image = self.pipeline.prepare(opened)
        except HarnessError as error:
            raise about_image(error, self.table, row) from error
        size = image.width * image.height * len(image.getbands())
        if size <= self._room:
            self._room -= size
            self._kept[row] = image
        return image
