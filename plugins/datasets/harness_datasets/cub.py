"""Caltech-UCSD Birds-200-2011 in its published layout."""

from __future__ import annotations

from pathlib import Path

from harness.api import DatasetSpec, HarnessError, SampleTable
from harness_datasets.files import (
    Row,
    check_counts,
    find,
    images_below,
    integer,
    make_table,
    read_lines,
)

FOLDERS = (
    *("CUB_200_2011/", "cub200/CUB_200_2011/", "cub2011/CUB_200_2011/"),
    *("cub200/", "cub2011/", ""),
)


def load(card: DatasetSpec, root: Path, *, allow_partial: bool) -> SampleTable:
    """Return the table; class ids 1-200 and sample ids as published.

    Without the text files, folder names give the same class ids, and sample ids count the sorted
    paths from 1. The published train/test file shares classes between its parts, so the table is
    marked as a closed set.
    """
    images = find(card, root, [f"{folder}images" for folder in FOLDERS])
    present = images_below(images)
    if (images.parent / "images.txt").exists():
        rows, names = _listed(images.parent)
    else:
        rows, names = _named(images, present)
    table = make_table(
        card,
        images.parent,
        [row._replace(path=f"images/{row.path}") for row in rows],
        class_names=names,
        present=(f"images/{path}" for path in present),
        closed_set=any(row.part for row in rows),
    )
    return check_counts(card, table, images.parent, allow_partial=allow_partial)


def _listed(folder: Path) -> tuple[list[Row], dict[int, str]]:
    """Read images.txt and the files that go with it; parts and class names may be absent."""
    labels = _column(folder / "image_class_labels.txt", high=200)
    training = folder / "train_test_split.txt"
    parts = _column(training, low=0, high=1) if training.exists() else {}
    rows: list[Row] = []
    names: dict[int, str] = {}
    for where, (number, path) in read_lines(folder / "images.txt", num_fields=2):
        sample_id = integer(number, where)
        if sample_id not in labels or (parts and sample_id not in parts):
            file = training if sample_id in labels else folder / "image_class_labels.txt"
            raise HarnessError(f"{where}: image {sample_id} has no line in {file}")
        part = ("test", "train")[parts[sample_id]] if parts else ""
        rows.append(Row(where, sample_id, labels[sample_id], path, part))
        names.setdefault(labels[sample_id], _class_name(path))
    return rows, names


def _column(file: Path, *, low: int = 1, high: int) -> dict[int, int]:
    """Read lines of `id value`."""
    return {
        integer(fields[0], where): integer(fields[1], where, low=low, high=high)
        for where, fields in read_lines(file, num_fields=2)
    }


def _named(images: Path, present: list[str]) -> tuple[list[Row], dict[int, str]]:
    """Take class ids from folder names such as `001.Black_footed_Albatross`."""
    rows: list[Row] = []
    names: dict[int, str] = {}
    for sample_id, path in enumerate(present, start=1):
        where = str(images / path)
        label = integer(path.split(".", 1)[0], where, high=200)
        rows.append(Row(where, sample_id, label, path))
        names.setdefault(label, _class_name(path))
    return rows, names


def _class_name(path: str) -> str:
    """Return `Black_footed_Albatross` of `001.Black_footed_Albatross/….jpg`."""
    return path.split("/", maxsplit=1)[0].split(".", 1)[-1]
