"""Stanford Online Products in its published layout."""

from __future__ import annotations

from pathlib import Path

from harness.api import DatasetSpec, SampleTable
from harness_datasets.files import (
    Row,
    check_counts,
    find,
    images_below,
    integer,
    make_table,
    read_lines,
)

FOLDERS = ("Stanford_Online_Products/", "sop/Stanford_Online_Products/", "sop/", "")
PARTS = (("Ebay_train.txt", "train"), ("Ebay_test.txt", "test"))


def load(card: DatasetSpec, root: Path, *, allow_partial: bool) -> SampleTable:
    """Return the table with the official parts; class ids 1-22634 and image ids as published."""
    first = find(card, root, [folder + PARTS[0][0] for folder in FOLDERS])
    folder = first.parent
    rows: list[Row] = []
    names: dict[int, str] = {}
    for file, part in PARTS:
        for where, fields in read_lines(folder / file, num_fields=4, skip=1):
            number, label_text, _, path = fields
            label = integer(label_text, where, high=card.num_classes)
            rows.append(Row(where, integer(number, where), label, path, part))
            names.setdefault(label, f"{path.split('/')[0].removesuffix('_final')} {label}")
    table = make_table(card, folder, rows, class_names=names, present=images_below(folder))
    return check_counts(card, table, folder, allow_partial=allow_partial)
