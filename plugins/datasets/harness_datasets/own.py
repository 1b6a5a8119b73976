"""Data sets of your own: a folder of folders, or a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.api import HarnessError, MissingDataError, SampleTable
from harness_datasets.files import images_below, integer

PARTS = frozenset({"train", "val", "test", "query", "gallery"})
COLUMNS = frozenset({"path", "label", "part", "id"})


def load_folder(folder: Path) -> SampleTable:
    """Return the images of `class/….jpg`, or of `part/class/….jpg` when all folders are parts.

    Class ids count the sorted class names from 1; sample ids count the sorted paths from 1.
    """
    if not folder.is_dir():
        raise MissingDataError(
            f"data set folder {folder} does not exist", hint="set dataset.params.path"
        )
    paths = images_below(folder)
    tops = {path.split("/")[0] for path in paths if "/" in path}
    depth = 1 if tops and tops <= PARTS else 0
    for path in paths:
        if path.count("/") <= depth:
            raise HarnessError(
                f"image {folder / path} lies in no class folder",
                hint="the layout is CLASS/image.jpg, or train/CLASS/image.jpg and test/CLASS/…",
            )
    split = [path.split("/") for path in paths]
    return _table(
        "folder",
        folder,
        paths=paths,
        names=[parts[depth] for parts in split],
        parts=[parts[0] if depth else "" for parts in split],
        sample_ids=range(1, len(paths) + 1),
    )


def load_csv(file: Path) -> SampleTable:
    """Return the images a CSV file lists, with paths relative to its folder.

    Labels that are all whole numbers are class ids; otherwise ids count the sorted labels from 1.
    Sample ids are the column `id`, or the row numbers from 1.
    """
    if not file.is_file():
        raise MissingDataError(
            f"data set file {file} does not exist", hint="set dataset.params.path"
        )
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            header = [name.strip() for name in next(reader, [])]
            _check_columns(file, header)
            rows = [_row(file, reader.line_num, header, fields) for fields in reader if fields]
    except (UnicodeDecodeError, csv.Error) as error:
        raise HarnessError(f"{file} is no CSV file in UTF-8: {error}") from error
    return _table(
        "csv",
        file.parent,
        paths=[row["path"] for row in rows],
        names=[row["label"] for row in rows],
        parts=[row.get("part", "") for row in rows],
        sample_ids=[int(row.get("id", number)) for number, row in enumerate(rows, start=1)],
    )


def _check_columns(file: Path, columns: Sequence[str]) -> None:
    """Refuse a header that lacks path or label, or has a column that nothing reads."""
    for name in ("path", "label"):
        if name not in columns:
            raise HarnessError(f"{file}:1: no column {name!r}; columns are path,label[,part][,id]")
    for name in columns:
        if name not in COLUMNS:
            raise HarnessError(
                f"{file}:1: unknown column {name!r}; columns are path,label[,part][,id]"
            )


def _row(file: Path, line: int, header: Sequence[str], fields: Sequence[str]) -> dict[str, str]:
    """Return a row by column, after checking that all is there and the image exists."""
    where = f"{file}:{line}"
    if len(fields) != len(header):
        raise HarnessError(f"{where}: {len(fields)} fields, the header has {len(header)}")
    row = {name: field.strip() for name, field in zip(header, fields, strict=True)}
    for name in ("path", "label"):
        if not row[name]:
            raise HarnessError(f"{where}: {name} is empty")
    if not (file.parent / row["path"]).is_file():
        raise HarnessError(f"{where}: image {file.parent / row['path']} is listed but missing")
    part = row.get("part", "")
    if part and part not in PARTS:
        raise HarnessError(f"{where}: part {part!r} is none of {', '.join(sorted(PARTS))}")
    if "id" in row:
        integer(row["id"], where, low=0)
    return row


def _table(
    name: str,
    root: Path,
    *,
    paths: Sequence[str],
    names: Sequence[str],
    parts: Sequence[str],
    sample_ids: Sequence[int],
) -> SampleTable:
    """Return the table in the order of the sample ids, with classes numbered."""
    if not paths:
        raise HarnessError(f"{root} holds no images")
    class_ids = _class_ids(names)
    order = np.argsort(np.array(sample_ids, dtype=np.int64), kind="stable")
    return SampleTable(
        name=name,
        sample_id=np.array(sample_ids, dtype=np.int64)[order],
        label=np.array([class_ids[one] for one in names], dtype=np.int64)[order],
        class_names={number: one for one, number in class_ids.items()},
        part=np.array(parts)[order] if any(parts) else None,
        root=root,
        paths=[paths[int(row)] for row in order],
    )


def _class_ids(names: Sequence[str]) -> dict[str, int]:
    """Return the id of each class name: the number it is, else its place in sorted order."""
    distinct = sorted(set(names))
    if all(name.isdecimal() for name in distinct):
        return {name: int(name) for name in distinct}
    return {name: number for number, name in enumerate(distinct, start=1)}
