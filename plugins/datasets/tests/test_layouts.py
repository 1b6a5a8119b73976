"""Official layouts: what is on disk comes out as the right table."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from harness_datasets import harness_datasets
from sklearn.datasets import load_digits

from harness.api import DataContext, DatasetSpec, SampleTable
from harness.data.manifest import manifest_digest
from harness.data.splits import assign
from harness.protocol import SplitRule
from harness.testing.toys import (
    write_cars,
    write_cub,
    write_inshop,
    write_omniglot,
    write_sop,
)

CARDS = {card.name: card for card in harness_datasets()}
REAL_DATA = os.environ.get("HARNESS_DATA", "")
OFFICIAL = SplitRule(scheme="official")


def load(name: str, root: Path, **params: object) -> SampleTable:
    card: DatasetSpec = CARDS[name]
    if name not in {"digits", "folder", "csv"}:
        params = {"allow_partial": True, **params}
    return card.build(card.params.model_validate(params), DataContext(root))


def label_of_path(table: SampleTable) -> dict[str, int]:
    assert table.paths is not None
    return dict(zip(table.paths, table.label.tolist(), strict=True))


def test_the_cards_are_data():
    code = (
        "import sys, harness_datasets as d; d.harness_datasets(); "
        "print(*({'torch', 'numpy', 'sklearn', 'scipy', 'PIL'} & set(sys.modules)))"
    )

    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout

    assert printed.strip() == ""


def test_every_data_set_has_a_card_that_says_how_to_get_it():
    official = {"digits", "omniglot", "cub200", "cars196", "sop", "inshop"}

    assert set(CARDS) == official | {"folder", "csv"}
    assert all(card.how_to_get for card in CARDS.values())
    assert {name for name, card in CARDS.items() if card.num_images} == official


# --- digits -------------------------------------------------------------------------------------


def test_digits_are_those_of_scikit_learn(tmp_path):
    theirs = load_digits()

    table = load("digits", tmp_path)

    assert np.array_equal(table.label, theirs.target)
    assert np.array_equal(np.round(table.images / 255 * 16), theirs.images)
    assert (table.images.min(), table.images.max()) == (0, 255)
    assert len(table) == CARDS["digits"].num_images


def test_digits_train_on_the_first_five(tmp_path):
    table = load("digits", tmp_path)

    split = assign(table, OFFICIAL)

    assert set(table.label[split.train]) == {0, 1, 2, 3, 4}
    assert set(table.label[split.query]) == {5, 6, 7, 8, 9}


# --- omniglot -----------------------------------------------------------------------------------


def test_omniglot_is_the_same_zipped_and_unpacked(tmp_path):
    write_omniglot(tmp_path / "zipped")
    write_omniglot(tmp_path / "unpacked", zipped=False)

    zipped, unpacked = (
        load("omniglot", tmp_path / "zipped"),
        load("omniglot", tmp_path / "unpacked"),
    )

    assert manifest_digest(zipped) == manifest_digest(unpacked)
    assert zipped.class_names == unpacked.class_names


def test_omniglot_is_found_without_a_folder_of_its_own(tmp_path):
    base = write_omniglot(tmp_path)

    assert len(load("omniglot", base)) == len(load("omniglot", tmp_path))


def test_omniglot_leaves_training_alphabets_out_of_test(tmp_path):
    write_omniglot(tmp_path, characters=3, drawings=4)

    table = load("omniglot", tmp_path)

    alphabets = {
        part: {table.class_names[label].split("/")[0] for label in table.label[table.part == part]}
        for part in ("train", "test")
    }
    assert alphabets["train"] == {"Balinese", "Greek", "Latin"}
    assert alphabets["test"] == {"Sanskrit", "Tagalog"}
    assert table.label.max() == 15
    assert (np.bincount(table.label)[1:] == 4).all()


def test_omniglot_strokes_are_bright_on_dark(tmp_path):
    write_omniglot(tmp_path)

    images = load("omniglot", tmp_path).images

    assert images.shape[1:] == (105, 105)
    assert set(np.unique(images)) == {0, 255}
    assert images.mean() < 128


@pytest.mark.skipif(not REAL_DATA, reason="HARNESS_DATA names no data folder")
def test_real_omniglot_has_its_official_size():
    table = load("omniglot", Path(REAL_DATA), allow_partial=False)

    split = assign(table, SplitRule(scheme="official", folds=4, use_folds=1))

    assert len(np.unique(table.label[table.part == "train"])) == 136
    assert len(np.unique(table.label[split.val])) == 34
    assert len(split.query) == 106 * 20
    names = {table.class_names[label].split("/")[0] for label in table.label[split.query]}
    assert names == {"Sanskrit", "Tagalog", "Japanese_(katakana)"}
    assert table.images.mean() < 30  # strokes are few


# --- CUB-200-2011 -------------------------------------------------------------------------------


def test_cub_has_its_published_ids(tmp_path):
    write_cub(tmp_path, classes=6, images_per_class=3, size=(20, 16))

    table = load("cub200", tmp_path)

    assert table.sample_id.tolist() == list(range(1, 19))
    assert table.label.tolist() == np.repeat(np.arange(1, 7), 3).tolist()
    assert table.class_names[4] == "Toy_bird_4"
    assert table.closed_set


def test_cub_without_text_files_has_the_same_classes(tmp_path):
    base = write_cub(tmp_path, classes=12, size=(20, 16))
    listed = load("cub200", tmp_path)
    for file in base.glob("*.txt"):
        file.unlink()

    table = load("cub200", tmp_path)

    assert label_of_path(table) == label_of_path(listed)
    assert table.class_names == listed.class_names
    assert table.part is None
    assert not table.closed_set


def test_cub_ids_are_those_of_the_files_whatever_their_order(tmp_path):
    base = write_cub(tmp_path, classes=4, size=(20, 16))
    before = load("cub200", tmp_path)
    for name in ("images.txt", "image_class_labels.txt"):
        lines = (base / name).read_text().splitlines()
        (base / name).write_text("\n".join(reversed(lines)))

    after = load("cub200", tmp_path)

    assert manifest_digest(after) == manifest_digest(before)


@pytest.mark.parametrize("place", ["CUB_200_2011", "cub2011/CUB_200_2011", "cub200", "."])
def test_cub_is_found_where_people_put_it(place, tmp_path):
    base = write_cub(tmp_path / "source", classes=2, size=(20, 16))
    shutil.copytree(base, tmp_path / "data" / place, dirs_exist_ok=True)

    assert len(load("cub200", tmp_path / "data")) == 4


def test_files_that_macos_leaves_are_no_images(tmp_path):
    base = write_cub(tmp_path, classes=2, size=(20, 16))
    folder = base / "images" / "001.Toy_bird_1"
    (folder / "._Toy_bird_1_0000_1.jpg").write_bytes(b"junk")
    for file in base.glob("*.txt"):
        file.unlink()

    assert len(load("cub200", tmp_path)) == 4


# --- Cars-196 -----------------------------------------------------------------------------------


@pytest.fixture
def cars(tmp_path) -> dict[str, SampleTable]:
    tables = {}
    for layout in ("car_ims", "devkit", "by_class"):
        write_cars(tmp_path / layout, layout=layout, classes=8, images_per_class=3, size=(20, 16))
        tables[layout] = load("cars196", tmp_path / layout)
    return tables


def test_the_three_layouts_of_cars_agree_on_classes_and_parts(cars):
    counts = [
        np.unique(np.stack([table.label.astype(str), table.part]), axis=1, return_counts=True)
        for table in cars.values()
    ]

    for values, count in counts[1:]:
        assert np.array_equal(values, counts[0][0])
        assert np.array_equal(count, counts[0][1])
    names = [table.class_names for table in cars.values()]
    assert names[0] == names[1] == names[2]
    assert names[0][3] == "Toy C/V Car 3 2012"


def test_cars_of_the_devkit_and_by_class_have_the_same_ids(cars):
    devkit, by_class = cars["devkit"], cars["by_class"]

    assert np.array_equal(devkit.sample_id, by_class.sample_id)
    assert np.array_equal(devkit.label, by_class.label)
    assert devkit.sample_id[devkit.part == "test"].min() == 8145


def test_cars_take_their_ids_from_the_file_names(cars):
    assert cars["car_ims"].sample_id.tolist() == list(range(1, 25))
    assert cars["car_ims"].paths[0] == "car_ims/000001.jpg"


def test_a_mark_that_windows_puts_before_text_is_no_part_of_it(tmp_path):
    base = write_cars(tmp_path, layout="by_class", classes=2)
    names = base / "names.csv"
    names.write_text(names.read_text(), encoding="utf-8-sig")

    assert set(load("cars196", tmp_path).class_names) == {1, 2}


def test_cars_are_a_closed_set_in_every_layout(cars):
    assert all(table.closed_set for table in cars.values())


# --- SOP ----------------------------------------------------------------------------------------


def test_sop_has_its_official_parts_and_ids(tmp_path):
    write_sop(tmp_path, classes=(3, 2), images_per_class=2, size=(20, 16))

    table = load("sop", tmp_path)
    split = assign(table, OFFICIAL)

    assert table.sample_id.tolist() == list(range(1, 11))
    assert table.label[split.train].tolist() == [1, 1, 2, 2, 3, 3]
    assert table.label[split.query].tolist() == [4, 4, 5, 5]
    assert table.class_names[1] == "cabinet 1"


# --- In-Shop ------------------------------------------------------------------------------------


def test_inshop_keeps_query_and_gallery_apart(tmp_path):
    write_inshop(tmp_path, classes=(3, 2), images_per_class=3, size=(20, 16))

    table = load("inshop", tmp_path)
    split = assign(table, OFFICIAL)

    assert sorted(table.label[split.train]) == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert sorted(table.label[split.query]) == [4, 5]
    assert sorted(table.label[split.gallery]) == [4, 4, 5, 5]
    assert list(table.paths) == sorted(table.paths)


def test_inshop_in_high_resolution_has_the_same_ids(tmp_path):
    write_inshop(tmp_path / "low", size=(20, 16))
    write_inshop(tmp_path / "high", size=(40, 32), images="img_highres")

    low = load("inshop", tmp_path / "low")
    high = load("inshop", tmp_path / "high", images="img_highres")

    assert [path.replace("img_highres/", "img/") for path in high.paths] == list(low.paths)
    assert np.array_equal(high.sample_id, low.sample_id)
    assert np.array_equal(high.label, low.label)


def test_inshop_may_lie_in_one_folder(tmp_path):
    base = write_inshop(tmp_path / "source", size=(20, 16))
    flat = tmp_path / "data" / "DeepFashion_InShop"
    shutil.copytree(base / "Img" / "img", flat / "img")
    shutil.copy(base / "Eval" / "list_eval_partition.txt", flat)

    assert manifest_digest(load("inshop", tmp_path / "data")) == manifest_digest(
        load("inshop", tmp_path / "source")
    )


# --- your own -----------------------------------------------------------------------------------


def copy_images(source: Path, *targets: Path) -> None:
    images = sorted(source.rglob("*.jpg"))
    for image, target in zip(images, targets, strict=False):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, target)


@pytest.fixture
def images(tmp_path) -> Path:
    return write_cub(tmp_path / "source", classes=4, images_per_class=2, size=(20, 16))


def test_a_folder_of_classes_is_a_data_set(images, tmp_path):
    own = tmp_path / "own"
    copy_images(images, own / "owl/b.jpg", own / "owl/a.jpg", own / "auk/x/c.JPG")

    table = load("folder", tmp_path, path="own")

    assert table.paths == ["auk/x/c.JPG", "owl/a.jpg", "owl/b.jpg"]
    assert table.label.tolist() == [1, 2, 2]
    assert table.class_names == {1: "auk", 2: "owl"}
    assert table.part is None


def test_folders_named_like_parts_are_parts(images, tmp_path):
    own = tmp_path / "own"
    names = ("train/a/1.jpg", "train/a/2.jpg", "test/b/1.jpg", "test/b/2.jpg")
    copy_images(images, *(own / name for name in names))

    table = load("folder", tmp_path, path=str(own))

    assert table.paths == sorted(names)
    assert table.part.tolist() == ["test", "test", "train", "train"]
    assert assign(table, OFFICIAL).train.tolist() == [2, 3]


def test_a_csv_file_is_a_data_set(images, tmp_path):
    own = tmp_path / "own"
    copy_images(images, own / "a.jpg", own / "b.jpg", own / "c.jpg")
    text = "id,path,label,part\n7,c.jpg,owl,test\n3,a.jpg,auk,train\n5,b.jpg,owl,test\n"
    (own / "list.csv").write_text(text)

    table = load("csv", tmp_path, path="own/list.csv")

    assert table.sample_id.tolist() == [3, 5, 7]
    assert table.paths == ["a.jpg", "b.jpg", "c.jpg"]
    assert table.label.tolist() == [1, 2, 2]
    assert table.part.tolist() == ["train", "test", "test"]
    assert table.class_names == {1: "auk", 2: "owl"}


def test_numbers_in_a_csv_file_are_class_ids(images, tmp_path):
    copy_images(images, tmp_path / "a.jpg", tmp_path / "b.jpg")
    (tmp_path / "list.csv").write_text("path,label\nb.jpg,30\na.jpg,4\n")

    table = load("csv", tmp_path, path="list.csv")

    assert table.label.tolist() == [30, 4]
    assert table.sample_id.tolist() == [1, 2]
    assert table.part is None
