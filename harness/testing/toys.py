"""Small data for tests: tables in memory, and folders in the exact official layouts.

Images of one class share a colour and a stripe pattern, so that training on them works a little;
everything is a function of the seed.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.contracts import SampleTable

Size = tuple[int, int]
CarsLayout = Literal["car_ims", "devkit", "by_class"]

SMALL: Size = (80, 60)
CUB_COUNTS = (59,) * 64 + (58,) * 36 + (60,) * 24 + (59,) * 76
"""Images of each class, 11,788 in all: as many as CUB-200-2011 has in each half of its classes."""
GREY_EVERY = 7
"""Every seventh image of a written data set is a greyscale JPEG, as real copies have some."""


def toy_image(label: int, number: int, *, size: Size = SMALL, seed: int = 0) -> Image.Image:
    """Return one RGB image of a class; `size` is (width, height)."""
    look = np.random.default_rng([seed, label])
    color, angle = look.uniform(40, 215, 3), look.uniform(0, math.pi)
    stripes = look.integers(2, 6)
    own = np.random.default_rng([seed, label, number])
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    phase = x * math.cos(angle) + y * math.sin(angle) + own.uniform()
    waves = 40 * np.sin(2 * math.pi * stripes * phase)
    noise = own.normal(0, 12, (size[1], size[0]))
    pixels = (waves + noise)[:, :, None] + color + own.normal(0, 12)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def toy_table(
    *,
    num_classes: int = 8,
    images_per_class: int = 4,
    size: Size = (8, 8),
    grey: bool = True,
    parts: Sequence[str] = (),
    seed: int = 0,
) -> SampleTable:
    """Return a table in memory, classes from 1, sample ids from 1.

    Args:
        num_classes: Number of classes.
        images_per_class: Images of each.
        size: (width, height).
        grey: (N, H, W) images instead of (N, H, W, 3).
        parts: Official part of each class; empty for none.
        seed: Of the pixels.
    """
    labels = np.repeat(np.arange(1, num_classes + 1), images_per_class)
    images = [
        toy_image(int(label), number, size=size, seed=seed).convert("L" if grey else "RGB")
        for number, label in enumerate(labels)
    ]
    return SampleTable(
        name="toy",
        sample_id=np.arange(1, len(labels) + 1, dtype=np.int64),
        label=labels.astype(np.int64),
        class_names={label: f"class {label}" for label in range(1, num_classes + 1)},
        part=np.repeat(np.array(parts), images_per_class) if parts else None,
        images=np.stack([np.asarray(image) for image in images]),
    )


def write_cub(
    folder: Path,
    *,
    classes: int = 200,
    images_per_class: int | Sequence[int] = 2,
    size: Size = SMALL,
    seed: int = 0,
) -> Path:
    """Write CUB-200-2011 in its published layout and return its folder.

    `images_per_class` may be one number per class: with `CUB_COUNTS` the published parts have
    their 5,864 and 5,924 images.
    """
    base = folder / "CUB_200_2011"
    counts = (
        [images_per_class] * classes if isinstance(images_per_class, int) else images_per_class
    )
    lines: list[tuple[int, int, str]] = []
    for label, count in enumerate(counts, start=1):
        bird = f"{label:03d}.Toy_bird_{label}"
        for number in range(count):
            sample_id = len(lines) + 1
            path = f"{bird}/Toy_bird_{label}_{number:04d}_{sample_id}.jpg"
            _save(base / "images" / path, label, sample_id, size=size, seed=seed)
            lines.append((sample_id, label, path))
    _write(base / "images.txt", (f"{one} {path}" for one, _, path in lines))
    _write(base / "image_class_labels.txt", (f"{one} {label}" for one, label, _ in lines))
    _write(base / "train_test_split.txt", (f"{one} {one % 2}" for one, _, _ in lines))
    names = {label: path.split("/")[0] for _, label, path in lines}
    _write(base / "classes.txt", (f"{label} {name}" for label, name in names.items()))
    return base


def write_cars(
    folder: Path,
    *,
    layout: CarsLayout = "car_ims",
    classes: int = 196,
    images_per_class: int = 2,
    size: Size = SMALL,
    seed: int = 0,
) -> Path:
    """Write Stanford Cars in one of its three layouts and return its folder.

    Even images of a class are in its train part, odd ones in its test part.
    """
    base = folder / "cars196"
    labels = [label for label in range(1, classes + 1) for _ in range(images_per_class)]
    parts = [("train", "test")[index % images_per_class % 2] for index in range(len(labels))]
    names = [f"Toy C/V Car {label} 2012" for label in range(1, classes + 1)]
    paths = _car_paths(layout, labels, parts, names)
    for number, (label, path) in enumerate(zip(labels, paths, strict=True), start=1):
        _save(base / path, label, number, size=size, seed=seed)
    if layout == "by_class":
        _write(base / "names.csv", names)
    else:
        _write_car_annotations(base, layout, list(zip(paths, labels, parts, strict=True)), names)
    return base


def write_sop(
    folder: Path,
    *,
    classes: tuple[int, int] = (6, 4),
    images_per_class: int = 2,
    size: Size = SMALL,
    seed: int = 0,
) -> Path:
    """Write Stanford Online Products with (train, test) classes and return its folder."""
    base = folder / "Stanford_Online_Products"
    num_train, num_classes = classes[0], sum(classes)
    blocks = {
        "Ebay_train.txt": range(1, num_train + 1),
        "Ebay_test.txt": range(num_train + 1, num_classes + 1),
    }
    for file, labels in blocks.items():
        lines = ["image_id class_id super_class_id path"]
        for label in labels:
            super_class = label % 2 + 1
            kind = ("bicycle", "cabinet")[super_class - 1]
            for number in range(images_per_class):
                sample_id = (label - 1) * images_per_class + number + 1
                path = f"{kind}_final/{111_000_000_000 + label}_{number}.JPG"
                _save(base / path, label, sample_id, size=size, seed=seed)
                lines.append(f"{sample_id} {label} {super_class} {path}")
        _write(base / file, lines)
    return base


def write_inshop(
    folder: Path,
    *,
    classes: tuple[int, int] = (5, 4),
    images_per_class: int = 3,
    images: Literal["img", "img_highres"] = "img",
    size: Size = SMALL,
    seed: int = 0,
) -> Path:
    """Write In-Shop with (train, query and gallery) classes and return its folder.

    The first image of each test class is a query, the others are its gallery.
    """
    base = folder / "Inshop_Clothes"
    lines: list[str] = []
    for label in range(1, sum(classes) + 1):
        sex = ("MEN", "WOMEN")[label % 2]
        for number in range(images_per_class):
            path = f"{sex}/Toy_Shirts/id_{label:08d}/{number + 1:02d}_1_front.jpg"
            _save(base / "Img" / images / path, label, len(lines), size=size, seed=seed)
            part = "train" if label <= classes[0] else ("query" if number == 0 else "gallery")
            lines.append(f"img/{path}    id_{label:08d}    {part}")
    header = [str(len(lines)), "image_name item_id evaluation_status"]
    _write(base / "Eval" / "list_eval_partition.txt", header + lines)
    return base


def write_omniglot(
    folder: Path, *, characters: int = 3, drawings: int = 4, zipped: bool = True, seed: int = 0
) -> Path:
    """Write Omniglot's two small files, as published or unpacked, and return their folder.

    Greek and Latin are in both, as in the real files.
    """
    base = folder / "omniglot"
    base.mkdir(parents=True, exist_ok=True)
    sources = {
        "images_background_small1": ("Balinese", "Greek", "Latin"),
        "images_background_small2": ("Greek", "Latin", "Sanskrit", "Tagalog"),
    }
    for source, alphabets in sources.items():
        files = _omniglot_files(source, alphabets, characters, drawings, seed)
        if zipped:
            with zipfile.ZipFile(base / f"{source}.zip", "w") as archive:
                for name, data in files:
                    archive.writestr(name, data)
        else:
            for name, data in files:
                (base / name).parent.mkdir(parents=True, exist_ok=True)
                (base / name).write_bytes(data)
    return base


# --- how they are written ---------------------------------------------------------------------


def _save(file: Path, label: int, number: int, *, size: Size, seed: int) -> None:
    image = toy_image(label, number, size=size, seed=seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    grey = number % GREY_EVERY == 0
    (image.convert("L") if grey else image).save(file, quality=90)


def _write(file: Path, lines: Iterator[str] | Sequence[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _car_paths(
    layout: CarsLayout, labels: Sequence[int], parts: Sequence[str], names: Sequence[str]
) -> list[str]:
    """Return the path of each image; all but car_ims number each part from 1."""
    count = {"train": 0, "test": 0}
    paths: list[str] = []
    for number, (label, part) in enumerate(zip(labels, parts, strict=True), start=1):
        count[part] += 1
        if layout == "car_ims":
            paths.append(f"car_ims/{number:06d}.jpg")
        elif layout == "devkit":
            paths.append(f"cars_{part}/{count[part]:05d}.jpg")
        else:
            folder = names[label - 1].replace("/", "-")
            paths.append(f"car_data/car_data/{part}/{folder}/{count[part]:05d}.jpg")
    return paths


def _write_car_annotations(
    base: Path, layout: CarsLayout, cars: Sequence[tuple[str, int, str]], names: Sequence[str]
) -> None:
    """Write the MATLAB files of layouts car_ims and devkit."""
    from scipy.io import savemat

    class_names = np.array(names, dtype=object)
    if layout == "car_ims":
        columns = [(path, 1, 1, 9, 9, label, int(part == "test")) for path, label, part in cars]
        fields = ["relative_im_path", *_BOX, "class", "test"]
        table = _struct(fields, columns)
        savemat(base / "cars_annos.mat", {"annotations": table, "class_names": class_names})
        return
    (base / "devkit").mkdir(parents=True, exist_ok=True)
    savemat(base / "devkit" / "cars_meta.mat", {"class_names": class_names})
    for part, name in (("train", "cars_train_annos"), ("test", "cars_test_annos_withlabels")):
        columns = [(1, 1, 9, 9, label, Path(path).name) for path, label, p in cars if p == part]
        table = _struct([*_BOX, "class", "fname"], columns)
        savemat(base / "devkit" / f"{name}.mat", {"annotations": table})


_BOX = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")


def _struct(fields: Sequence[str], rows: Sequence[tuple[object, ...]]) -> NDArray[np.void]:
    """Return what MATLAB reads as a struct array."""
    return np.array(rows, dtype=[(name, object) for name in fields])[None, :]


def _omniglot_files(
    source: str, alphabets: Sequence[str], characters: int, drawings: int, seed: int
) -> Iterator[tuple[str, bytes]]:
    """Yield names and PNG bytes: one bit a pixel, black strokes on white, 105x105."""
    for alphabet in alphabets:
        for character in range(1, characters + 1):
            look = int.from_bytes(f"{alphabet}{character}".encode()[-4:], "big")
            for drawing in range(1, drawings + 1):
                image = toy_image(look, drawing, size=(105, 105), seed=seed).convert("L")
                strokes = np.asarray(image) > np.median(np.asarray(image)) - 40
                data = io.BytesIO()
                Image.fromarray(strokes).save(data, "PNG")
                folder = f"{source}/{alphabet}/character{character:02d}"
                yield f"{folder}/{character:04d}_{drawing:02d}.png", data.getvalue()
