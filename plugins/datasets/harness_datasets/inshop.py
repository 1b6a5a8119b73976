"""DeepFashion In-Shop Clothes Retrieval in its published layout."""

from __future__ import annotations

from pathlib import Path

from harness.api import DatasetSpec, HarnessError, MissingDataError, SampleTable
from harness_datasets.files import (
    Row,
    check_counts,
    find,
    images_below,
    integer,
    make_table,
    read_lines,
)

FOLDERS = ("Inshop_Clothes/", "DeepFashion_InShop/", "inshop/", "")
LIST = "list_eval_partition.txt"
PARTS = ("train", "query", "gallery")


def load(card: DatasetSpec, root: Path, *, images: str, allow_partial: bool) -> SampleTable:
    """Return the table with train, query and gallery parts.

    Class ids are the numbers of the item ids; sample ids are positions in the sorted paths, from
    1. The list names the low resolution; the other one has the same paths below another folder.
    """
    file = find(card, root, [folder + sub for folder in FOLDERS for sub in (f"Eval/{LIST}", LIST)])
    base = file.parent.parent if file.parent.name == "Eval" else file.parent
    above = _folder_of_images(card, base, images)
    listed = sorted(_listed(file), key=lambda row: row.path)
    rows = [
        row._replace(sample_id=number, path=row.path.replace("img/", f"{images}/", 1))
        for number, row in enumerate(listed, start=1)
    ]
    table = make_table(
        card,
        above,
        rows,
        class_names={row.label: f"id_{row.label:08d}" for row in rows},
        present=(f"{images}/{path}" for path in images_below(above / images)),
    )
    return check_counts(card, table, base, allow_partial=allow_partial)


def _folder_of_images(card: DatasetSpec, base: Path, images: str) -> Path:
    """Return the folder that holds `img` or `img_highres`."""
    for above in (base / "Img", base):
        if (above / images).is_dir():
            return above
        other = "img" if images == "img_highres" else "img_highres"
        if (above / other).is_dir():
            raise MissingDataError(
                f"data set {card.name!r}: {above / images} is missing, only {other} is there",
                hint=f"unpack {images}.zip, or accept other numbers with --deviate "
                f"dataset.images={other}",
            )
    raise MissingDataError(
        f"data set {card.name!r} is not complete; looked for {base / 'Img' / images}, "
        f"{base / images}",
    )


def _listed(file: Path) -> list[Row]:
    """Read the list: a count, a header, then path, item id and part."""
    rows: list[Row] = []
    for where, (path, item, part) in read_lines(file, num_fields=3, skip=2):
        if part not in PARTS:
            raise HarnessError(f"{where}: {part!r} is none of {', '.join(PARTS)}")
        if not path.startswith("img/"):
            raise HarnessError(f"{where}: path {path!r} does not begin with img/")
        label = integer(item.removeprefix("id_"), where)
        rows.append(Row(where, 0, label, path, part))
    return rows
