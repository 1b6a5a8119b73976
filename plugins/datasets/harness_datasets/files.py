"""What the readers of official layouts share: finding files, reading lines, checking counts."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.api import DatasetSpec, HarnessError, MissingDataError, SampleTable

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".webp"),
    *(".tif", ".tiff", ".gif", ".ppm", ".pgm"),
)


class Line(NamedTuple):
    """One line of a text file, with the place that an error message names."""

    where: str
    fields: list[str]


def find(card: DatasetSpec, root: Path, places: Sequence[str]) -> Path:
    """Return the first place below the data folder that exists.

    Raises:
        MissingDataError: None does; the message names them all.
    """
    for place in places:
        if (root / place).exists():
            return root / place
    raise MissingDataError(
        f"data set {card.name!r} is not in {root.absolute()}; looked there for "
        f"{', '.join(places)}",
        hint=how_to_get(card, root),
    )


def how_to_get(card: DatasetSpec, root: Path) -> str:
    """Return what a person can type or do to get a data set into a folder."""
    return card.how_to_get.replace("FOLDER", str(root))


def read_lines(file: Path, *, num_fields: int, skip: int = 0) -> Iterator[Line]:
    """Yield the lines of a file of white-space separated fields; the last may hold spaces.

    Raises:
        HarnessError: The file is missing, no text, or a line has too few fields.
    """
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if number <= skip or not line.strip():
            continue
        fields = line.split(maxsplit=num_fields - 1)
        where = f"{file}:{number}"
        if len(fields) != num_fields:
            raise HarnessError(f"{where}: expected {num_fields} fields, found {line.strip()!r}")
        fields[-1] = fields[-1].rstrip()
        yield Line(where, fields)


def read_text(file: Path) -> str:
    """Return what a text file holds.

    Raises:
        HarnessError: The file is missing or no text.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise HarnessError(f"{file} is missing") from None
    except OSError as error:
        raise HarnessError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise HarnessError(f"{file} is no text in UTF-8: {error}") from error


def integer(text: str, where: str, *, low: int = 1, high: int | None = None) -> int:
    """Return a whole number in [low, high].

    Raises:
        HarnessError: It is none, or outside.
    """
    try:
        value = int(text)
    except ValueError:
        raise HarnessError(f"{where}: {text!r} is not a whole number") from None
    if value < low or (high is not None and value > high):
        limits = f"{low} to {high}" if high is not None else f"{low} or more"
        raise HarnessError(f"{where}: {value} is out of range, {limits}")
    return value


def images_below(folder: Path) -> list[str]:
    """Return the images below a folder as sorted relative POSIX paths, without `._` files."""
    found: list[str] = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = Path(parent).relative_to(folder).as_posix()
        prefix = "" if relative == "." else f"{relative}/"
        found += [prefix + name for name in names if is_image(name)]
    return sorted(found)


def is_image(name: str) -> bool:
    """Return whether a file name is that of an image; macOS leaves `._` files that are none."""
    return not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)


@contextmanager
def hinting(card: DatasetSpec, root: Path) -> Generator[None]:
    """Say how to get a whole copy below every error that has no better hint."""
    try:
        yield
    except HarnessError as error:
        if error.hint is None:
            error.hint = f"get a whole copy: {how_to_get(card, root)}"
        raise


class Row(NamedTuple):
    """One image, as a data set lists it.

    Attributes:
        where: What an error message names, such as `images.txt:12`.
        sample_id: Unique.
        label: Class id.
        path: Relative POSIX path.
        part: Official part, "" for none.
    """

    where: str
    sample_id: int
    label: int
    path: str
    part: str = ""


def make_table(
    card: DatasetSpec,
    root: Path,
    rows: Sequence[Row],
    *,
    class_names: dict[int, str],
    present: Iterable[str],
    closed_set: bool = False,
) -> SampleTable:
    """Return the table of listed images, in the order of their ids.

    Raises:
        HarnessError: An image is listed twice or not among those present.
    """
    if not rows:
        raise HarnessError(f"data set {card.name!r} at {root} lists no images")
    have = set(present)
    num_missing = sum(row.path not in have for row in rows)
    seen: dict[str, str] = {}
    ids: dict[int, str] = {}
    for row in rows:
        if row.path not in have:
            others = f", and {num_missing - 1:,} others" if num_missing > 1 else ""
            raise HarnessError(
                f"{row.where}: image {root / row.path} is listed but missing{others}"
            )
        if row.path in seen:
            raise HarnessError(f"{row.where}: image {row.path} is listed in {seen[row.path]} too")
        if row.sample_id in ids:
            raise HarnessError(
                f"{row.where}: id {row.sample_id} is used in {ids[row.sample_id]} too"
            )
        seen[row.path] = ids[row.sample_id] = row.where
    ordered = sorted(rows, key=lambda row: row.sample_id)
    labels = np.array([row.label for row in ordered], dtype=np.int64)
    parts = [row.part for row in ordered]
    return SampleTable(
        name=card.name,
        sample_id=np.array([row.sample_id for row in ordered], dtype=np.int64),
        label=labels,
        class_names={int(label): class_names[int(label)] for label in np.unique(labels)},
        part=np.array(parts) if any(parts) else None,
        root=root,
        paths=tuple(row.path for row in ordered),
        closed_set=closed_set,
    )


def check_counts(
    card: DatasetSpec, table: SampleTable, where: Path, *, allow_partial: bool
) -> SampleTable:
    """Return the table if it has the official numbers of images and classes.

    Raises:
        HarnessError: It has not, and `allow_partial` is not set.
    """
    num_classes = len(np.unique(table.label))
    if allow_partial or (len(table), num_classes) == (card.num_images, card.num_classes):
        return table
    raise HarnessError(
        f"data set {card.name!r} at {where}: {len(table):,} images of {num_classes:,} "
        f"classes, the official copy has {card.num_images:,} of {card.num_classes:,}",
        hint="get a complete copy, or mark the run with --deviate dataset.allow_partial=true",
    )
