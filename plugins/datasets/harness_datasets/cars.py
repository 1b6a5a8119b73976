"""Stanford Cars in the three layouts it is found in.

A  car_ims/000001.jpg, cars_annos.mat                             as metric learning has it
B  cars_train/00001.jpg, cars_test/00001.jpg, devkit/….mat        as published for classification
C  car_data/car_data/{train,test}/CLASS NAME/00001.jpg, names.csv    by class

B and C have the same file names, hence the same sample ids; A numbers the images anew. All three
agree on class ids, and in all three the train and test parts share classes.
"""

from __future__ import annotations

import csv
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.api import DatasetSpec, HarnessError, MissingDataError, SampleTable
from harness_datasets.files import (
    Row,
    check_counts,
    find,
    images_below,
    integer,
    make_table,
    read_text,
)

FOLDERS = ("cars196/", "stanford_cars/", "")
NUM_CLASSES = 196
NUM_TRAIN = 8_144  # the test images of B and C, which are numbered from 1 again, follow
DAMAGE = (
    *(ValueError, TypeError, LookupError, EOFError, NotImplementedError, MemoryError),
    *(zlib.error, struct.error),
)
"""What scipy raises for a file that was cut, garbled, or is none of MATLAB's."""


class Listing(NamedTuple):
    """What a layout lists: its images and the names of its classes, from class 1 on."""

    rows: list[Row]
    names: list[str]


def load(card: DatasetSpec, root: Path, *, allow_partial: bool) -> SampleTable:
    """Return the table; class ids 1-196 as published, sample ids from the file names."""
    mark = find(card, root, [folder + name for folder in FOLDERS for name in LAYOUTS])
    base = mark.parent
    listing = LAYOUTS[mark.name](base)
    folders = sorted({row.path.split("/")[0] for row in listing.rows})
    present = [f"{name}/{path}" for name in folders for path in images_below(base / name)]
    names = dict(enumerate(listing.names, start=1))
    for row in listing.rows:
        names.setdefault(row.label, str(row.label))
    table = make_table(
        card, base, listing.rows, class_names=names, present=present, closed_set=True
    )
    return check_counts(card, table, base, allow_partial=allow_partial)


def _one_folder(base: Path) -> Listing:
    """Read layout A."""
    file = base / "cars_annos.mat"
    if not file.exists():
        raise MissingDataError(f"{file} is missing; it says what the images of car_ims/ show")
    content = _matlab(file)
    rows: list[Row] = []
    columns = ("relative_im_path", "class", "test")
    for number, (path, label_text, test) in enumerate(_fields(content, file, columns), start=1):
        where = f"{file}: annotation {number}"
        label = integer(label_text, where, high=NUM_CLASSES)
        sample_id = integer(Path(path).stem, where)
        rows.append(Row(where, sample_id, label, path, "test" if test == "1" else "train"))
    return Listing(rows, _class_names(content))


def _two_folders(base: Path) -> Listing:
    """Read layout B."""
    files = {"train": "cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
    rows: list[Row] = []
    for part, name in files.items():
        file = _devkit(base, name)
        for number, (image, label_text) in enumerate(
            _fields(_matlab(file), file, ("fname", "class")), start=1
        ):
            where = f"{file}: annotation {number}"
            label = integer(label_text, where, high=NUM_CLASSES)
            path = f"cars_{part}/{image}"
            rows.append(Row(where, _devkit_id(image, part, where), label, path, part))
    return Listing(rows, _class_names(_matlab(_devkit(base, "cars_meta.mat"))))


def _by_class(base: Path) -> Listing:
    """Read layout C; folder names have `-` where a class name has `/`."""
    file = base / "names.csv"
    lines = read_text(file).splitlines()
    names = [fields[0].strip() for fields in csv.reader(lines) if fields]
    label_of = {name.replace("/", "-"): label for label, name in enumerate(names, start=1)}
    inner = "car_data/car_data" if (base / "car_data/car_data").is_dir() else "car_data"
    rows: list[Row] = []
    for part in ("train", "test"):
        for path in images_below(base / inner / part):
            where = str(base / inner / part / path)
            folder, _, image = path.partition("/")
            if folder not in label_of:
                raise HarnessError(f"{where}: class {folder!r} is not in {file}")
            sample_id = _devkit_id(image, part, where)
            rows.append(Row(where, sample_id, label_of[folder], f"{inner}/{part}/{path}", part))
    return Listing(rows, names)


LAYOUTS: Mapping[str, Callable[[Path], Listing]] = {
    "car_ims": _one_folder,
    "cars_train": _two_folders,
    "car_data": _by_class,
}
"""Reader of each layout, by the folder that gives it away."""


def _devkit_id(image: str, part: str, where: str) -> int:
    """Return the id of `00001.jpg`; test follows train."""
    number = integer(Path(image).stem, where, high=NUM_TRAIN)
    return number + (NUM_TRAIN if part == "test" else 0)


def _devkit(base: Path, name: str) -> Path:
    """Return where a file of the devkit lies, in its folder or beside the images."""
    places = (base / "devkit" / name, base / name)
    for place in places:
        if place.exists():
            return place
    raise HarnessError(f"{places[0]} is missing", hint="put it beside the images or into devkit/")


def _matlab(file: Path) -> Mapping[str, np.ndarray]:
    """Read a MATLAB file."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        return loadmat(file, squeeze_me=True)
    except OSError as error:
        raise HarnessError(f"{file} cannot be read: {error.strerror or error}") from error
    except (MatReadError, *DAMAGE) as error:
        raise HarnessError(f"{file} is cut or no MATLAB file: {error}") from error


def _fields(
    content: Mapping[str, np.ndarray], file: Path, columns: tuple[str, ...]
) -> list[tuple[str, ...]]:
    """Return the wanted fields of each annotation as text."""
    annotations = np.atleast_1d(content.get("annotations", np.empty(0)))
    missing = [name for name in columns if name not in (annotations.dtype.names or ())]
    if missing:
        raise HarnessError(f"{file}: annotations have no field {missing[0]!r}")
    return [tuple(str(one[name]) for name in columns) for one in annotations]


def _class_names(content: Mapping[str, np.ndarray]) -> list[str]:
    return [str(name) for name in np.atleast_1d(content.get("class_names", np.empty(0)))]
