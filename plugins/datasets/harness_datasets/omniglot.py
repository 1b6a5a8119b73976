"""Omniglot, "small" selection: train on five alphabets, test on three unseen ones.

The two files hold five alphabets each, Greek and Latin are in both; they train, so they are left
out of test.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.api import DatasetSpec, HarnessError, SampleTable
from harness_datasets.files import check_counts, find, images_below, is_image

TRAIN, TEST = "images_background_small1", "images_background_small2"
SIDE = 105
DEPTH = 3  # alphabet / character / drawing


class Drawing(NamedTuple):
    """One file: `Sanskrit/character01/0863_01.png` of its source, and its pixels."""

    path: str
    pixels: NDArray[np.uint8]

    @property
    def alphabet(self) -> str:
        """Return `Sanskrit`."""
        return self.path.split("/", maxsplit=1)[0]

    @property
    def character(self) -> str:
        """Return `Sanskrit/character01`."""
        return self.path.rsplit("/", 1)[0]


def load(card: DatasetSpec, root: Path, *, allow_partial: bool) -> SampleTable:
    """Return all drawings in memory, 105x105, strokes 255 on a background of 0.

    The files have it the other way round; moving an image about then needs no other filling than
    zero. Classes are numbered from 1, first the training characters, then the test characters,
    each sorted by alphabet and character; sample ids count the sorted drawings from 1.
    """
    places = [find(card, root, _places(source)) for source in (TRAIN, TEST)]
    train = _drawings(places[0])
    test = _drawings(places[1], leave_out={drawing.alphabet for drawing in train})
    if not train or not test:
        raise HarnessError(f"data set {card.name!r}: {places[1 if train else 0]} has no drawings")
    drawings = train + test
    class_ids: dict[str, int] = {}
    labels = [class_ids.setdefault(one.character, len(class_ids) + 1) for one in drawings]
    table = SampleTable(
        name=card.name,
        sample_id=np.arange(1, len(drawings) + 1, dtype=np.int64),
        label=np.array(labels, dtype=np.int64),
        class_names={number: name for name, number in class_ids.items()},
        part=np.array(["train"] * len(train) + ["test"] * len(test)),
        images=np.stack([drawing.pixels for drawing in drawings]),
    )
    return check_counts(card, table, places[0].parent, allow_partial=allow_partial)


def _places(source: str) -> list[str]:
    """Return where a source may lie: unpacked or as published, in its own folder or not."""
    return [folder + source + end for folder in ("omniglot/", "") for end in ("", ".zip")]


def _drawings(place: Path, leave_out: AbstractSet[str] = frozenset()) -> list[Drawing]:
    """Return the drawings of one source by path, from a folder or straight from the zip file."""
    found: list[Drawing] = []
    for path, data in _folder_files(place) if place.is_dir() else _zip_files(place):
        if path.count("/") == DEPTH - 1 and path.split("/", maxsplit=1)[0] not in leave_out:
            found.append(Drawing(path, _pixels(data, f"{place}/{path}")))
    return sorted(found, key=lambda drawing: drawing.path)


def _folder_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in images_below(folder):
        try:
            yield path, (folder / path).read_bytes()
        except OSError as error:
            raise HarnessError(
                f"image {folder / path} cannot be read: {error.strerror}"
            ) from error


def _zip_files(file: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with closing(zipfile.ZipFile(file)) as archive:
            for name in archive.namelist():
                below = name.partition("/")[2]
                if is_image(below.rsplit("/", 1)[-1]) and not name.startswith("__MACOSX"):
                    yield below, archive.read(name)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise HarnessError(f"{file} is damaged: {error}", hint="get the file again") from error


def _pixels(data: bytes, name: str) -> NDArray[np.uint8]:
    try:
        image = Image.open(io.BytesIO(data)).convert("L")
    except (OSError, SyntaxError, ValueError) as error:
        raise HarnessError(f"image {name} cannot be read: {error}") from error
    if image.size != (SIDE, SIDE):
        raise HarnessError(f"image {name} is {image.width}x{image.height}, not {SIDE}x{SIDE}")
    return 255 - np.asarray(image)
