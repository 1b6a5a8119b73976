"""Missing, partial and damaged copies end in one message that says what, where and what to do."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from harness_datasets import harness_datasets
from PIL import Image
from pydantic import ValidationError
from scipy.io import loadmat, savemat

from harness.api import DataContext, HarnessError, MissingDataError, SampleTable
from harness.testing.toys import (
    write_cars,
    write_cub,
    write_inshop,
    write_omniglot,
    write_sop,
)

CARDS = {card.name: card for card in harness_datasets()}


def load(name: str, root: Path, **params: object) -> SampleTable:
    card = CARDS[name]
    if name not in {"folder", "csv"}:
        params = {"allow_partial": True, **params}
    return card.build(card.params.model_validate(params), DataContext(root))


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("omniglot", "omniglot/images_background_small1.zip"),
        ("cub200", "CUB_200_2011/images"),
        ("cars196", "cars196/car_ims"),
        ("sop", "Stanford_Online_Products/Ebay_train.txt"),
        ("inshop", "Inshop_Clothes/Eval/list_eval_partition.txt"),
    ],
)
def test_a_missing_data_set_says_where_it_was_looked_for_and_how_to_get_it(name, place, tmp_path):
    with pytest.raises(MissingDataError) as caught:
        load(name, tmp_path)

    assert f"data set '{name}' is not in {tmp_path}" in caught.value.message
    assert place in caught.value.message
    assert caught.value.hint == CARDS[name].how_to_get.replace("FOLDER", str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["folder", "csv"])
def test_a_missing_path_of_your_own_is_named(name, tmp_path):
    with pytest.raises(MissingDataError, match=f"{tmp_path}/nowhere does not exist") as caught:
        load(name, tmp_path, path="nowhere")

    assert caught.value.hint == "set dataset.params.path"


@pytest.mark.parametrize("name", ["folder", "csv"])
def test_a_path_of_your_own_is_required(name):
    with pytest.raises(ValidationError, match="path"):
        CARDS[name].params.model_validate({})


@pytest.mark.parametrize(
    ("name", "write", "counts"),
    [
        pytest.param("cub200", write_cub, "400 images of 200 classes", id="cub200"),
        pytest.param("cars196", write_cars, "392 images of 196 classes", id="cars196"),
        pytest.param("sop", write_sop, "20 images of 10 classes", id="sop"),
        pytest.param("inshop", write_inshop, "27 images of 9 classes", id="inshop"),
        pytest.param("omniglot", write_omniglot, "60 images of 15 classes", id="omniglot"),
    ],
)
def test_a_partial_copy_is_refused_with_both_counts(name, write, counts, tmp_path):
    write(tmp_path)

    with pytest.raises(HarnessError, match=counts) as caught:
        load(name, tmp_path, allow_partial=False)

    card = CARDS[name]
    assert f"official copy has {card.num_images:,} of {card.num_classes:,}" in str(caught.value)
    assert "--deviate dataset.allow_partial=true" in str(caught.value.hint)


def edit(file: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    """Return a function that changes a text file below a folder."""

    def apply(base: Path) -> None:
        path = base / file
        path.write_text(change(path.read_text()))

    return apply


def remove(pattern: str) -> Callable[[Path], None]:
    """Return a function that removes the first file that matches."""

    def apply(base: Path) -> None:
        min(base.rglob(pattern)).unlink()

    return apply


CUB_DAMAGE = {
    "label-out-of-range": (
        edit("image_class_labels.txt", lambda text: text.replace("3 2\n", "3 201\n")),
        r"image_class_labels.txt:3: 201 is out of range, 1 to 200",
    ),
    "label-no-number": (
        edit("image_class_labels.txt", lambda text: text.replace("3 2\n", "3 two\n")),
        r"image_class_labels.txt:3: 'two' is not a whole number",
    ),
    "line-too-short": (
        edit("image_class_labels.txt", lambda text: text.replace("3 2\n", "3\n")),
        r"image_class_labels.txt:3: expected 2 fields, found '3'",
    ),
    "no-label": (
        edit("image_class_labels.txt", lambda text: text.replace("3 2\n", "")),
        r"images.txt:3: image 3 has no line in .*image_class_labels.txt",
    ),
    "no-part": (
        edit("train_test_split.txt", lambda text: text.replace("3 1\n", "")),
        r"images.txt:3: image 3 has no line in .*train_test_split.txt",
    ),
    "id-twice": (
        edit("images.txt", lambda text: text.replace("4 002", "3 002")),
        r"images.txt:4: id 3 is used in .*images.txt:3 too",
    ),
    "path-twice": (
        edit("images.txt", lambda text: text.replace("_0001_4.jpg", "_0000_3.jpg")),
        r"images.txt:4: image .* is listed in .*images.txt:3 too",
    ),
    "image-missing": (
        remove("*_0000_3.jpg"),
        r"images.txt:3: image .*_0000_3.jpg is listed but missing",
    ),
    "labels-missing": (
        remove("image_class_labels.txt"),
        r"image_class_labels.txt is missing",
    ),
    "not-text": (
        lambda base: (base / "images.txt").write_bytes(b"\xff\xfe\x00"),
        r"images.txt is no text in UTF-8: .*codec",
    ),
}


@pytest.mark.parametrize("damage", CUB_DAMAGE)
def test_a_damaged_cub_names_file_and_line(damage, tmp_path):
    spoil, message = CUB_DAMAGE[damage]
    spoil(write_cub(tmp_path, classes=3, size=(20, 16)))

    with pytest.raises(HarnessError, match=message):
        load("cub200", tmp_path)


def test_missing_images_are_counted_and_the_hint_names_the_data_folder(tmp_path):
    base = write_cub(tmp_path, classes=3, size=(20, 16))
    for image in sorted(base.rglob("*.jpg"))[1:]:
        image.unlink()

    with pytest.raises(HarnessError, match="listed but missing, and 4 others") as caught:
        load("cub200", tmp_path)

    assert "harness data fetch cub200; or unpack CUB_200_2011.tgz from" in str(caught.value.hint)
    assert f"into {tmp_path} and pass --data {tmp_path}" in str(caught.value.hint)


def test_an_empty_list_of_images_is_refused(tmp_path):
    (write_cub(tmp_path, classes=2, size=(20, 16)) / "images.txt").write_text("")

    with pytest.raises(HarnessError, match=r"'cub200' at .*CUB_200_2011 lists no images"):
        load("cub200", tmp_path)


def test_a_cub_folder_without_a_number_is_named(tmp_path):
    base = write_cub(tmp_path, classes=2, size=(20, 16))
    (base / "images.txt").unlink()
    (base / "images" / "002.Toy_bird_2").rename(base / "images" / "Toy_bird_2")

    with pytest.raises(HarnessError, match=r"Toy_bird_2.*'Toy_bird_2/.*' is not a whole number"):
        load("cub200", tmp_path)


CARS_DAMAGE = {
    "no-annotations": ("car_ims", remove("cars_annos.mat"), r"cars_annos.mat is missing"),
    "no-matlab-file": (
        "car_ims",
        lambda base: (base / "cars_annos.mat").write_bytes(b"<html>404</html>" * 20),
        r"cars_annos.mat is cut or no MATLAB file",
    ),
    "image-missing": (
        "car_ims",
        remove("000002.jpg"),
        r"annotation 2: image .*car_ims/000002.jpg is listed but missing",
    ),
    "no-test-labels": (
        "devkit",
        remove("cars_test_annos_withlabels.mat"),
        r"devkit/cars_test_annos_withlabels.mat is missing",
    ),
    "no-names": ("by_class", remove("names.csv"), r"names.csv is missing"),
    "unknown-class": (
        "by_class",
        edit("names.csv", lambda text: text.replace("Car 1 ", "Cart 1 ")),
        r"class 'Toy C-V Car 1 2012' is not in .*names.csv",
    ),
}


@pytest.mark.parametrize("layout", ["car_ims", "devkit"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_matlab_file_cut_anywhere_is_named(layout, compressed, tmp_path):
    base = write_cars(tmp_path, layout=layout, classes=2, size=(20, 16))
    for file in base.rglob("*.mat"):
        content = {k: v for k, v in loadmat(file).items() if not k.startswith("__")}
        savemat(file, content, do_compression=compressed)
        whole = file.read_bytes()

        for length in range(0, len(whole) - 8, 61):
            file.write_bytes(whole[:length])
            with pytest.raises(HarnessError, match=file.name) as caught:
                load("cars196", tmp_path)
            assert "harness data fetch cars196" in str(caught.value.hint)
        file.write_bytes(whole)


@pytest.mark.parametrize("damage", CARS_DAMAGE)
def test_a_damaged_copy_of_cars_names_the_file(damage, tmp_path):
    layout, spoil, message = CARS_DAMAGE[damage]
    spoil(write_cars(tmp_path, layout=layout, classes=3, size=(20, 16)))

    with pytest.raises(HarnessError, match=message):
        load("cars196", tmp_path)


def test_cars_without_their_annotations_can_be_fetched(tmp_path):
    remove("cars_annos.mat")(write_cars(tmp_path, classes=2, size=(20, 16)))

    with pytest.raises(MissingDataError, match=r"cars_annos.mat is missing"):
        load("cars196", tmp_path)


SOP_DAMAGE = {
    "label-out-of-range": (
        edit("Ebay_train.txt", lambda text: text.replace("\n3 2 ", "\n3 22635 ")),
        r"Ebay_train.txt:4: 22635 is out of range, 1 to 22634",
    ),
    "no-test-file": (remove("Ebay_test.txt"), r"Ebay_test.txt is missing"),
    "image-missing": (remove("*2_0.JPG"), r"Ebay_train.txt:4: image .* is listed but missing"),
}


@pytest.mark.parametrize("damage", SOP_DAMAGE)
def test_a_damaged_sop_names_file_and_line(damage, tmp_path):
    spoil, message = SOP_DAMAGE[damage]
    spoil(write_sop(tmp_path, classes=(3, 2), size=(20, 16)))

    with pytest.raises(HarnessError, match=message):
        load("sop", tmp_path)


LIST = "Eval/list_eval_partition.txt"
INSHOP_DAMAGE = {
    "unknown-part": (
        edit(LIST, lambda text: text.replace("query", "probe")),
        r"list_eval_partition.txt:\d+: 'probe' is none of train, query, gallery",
    ),
    "no-item": (
        edit(LIST, lambda text: text.replace(" id_00000001 ", " item1 ")),
        r"list_eval_partition.txt:3: 'item1' is not a whole number",
    ),
    "other-path": (
        edit(LIST, lambda text: text.replace("img/", "images/")),
        r"list_eval_partition.txt:3: path 'images/.*' does not begin with img/",
    ),
    "image-missing": (remove("01_1_front.jpg"), r"list_eval_partition.txt:\d+: image .* missing"),
}


@pytest.mark.parametrize("damage", INSHOP_DAMAGE)
def test_a_damaged_inshop_names_file_and_line(damage, tmp_path):
    spoil, message = INSHOP_DAMAGE[damage]
    spoil(write_inshop(tmp_path, classes=(2, 2), size=(20, 16)))

    with pytest.raises(HarnessError, match=message):
        load("inshop", tmp_path)


def test_inshop_in_the_other_resolution_says_how_to_take_it(tmp_path):
    write_inshop(tmp_path, images="img_highres", size=(20, 16))

    with pytest.raises(MissingDataError, match="Img/img is missing, only img_highres") as caught:
        load("inshop", tmp_path)

    assert "--deviate dataset.images=img_highres" in str(caught.value.hint)


def test_inshop_without_images_says_where_they_belong(tmp_path):
    base = write_inshop(tmp_path, size=(20, 16))
    (base / "Img" / "img").rename(base / "pictures")

    with pytest.raises(MissingDataError, match=r"looked for .*Img/img, .*/img"):
        load("inshop", tmp_path)


def test_an_image_beside_the_alphabets_of_omniglot_is_left_aside(tmp_path):
    base = write_omniglot(tmp_path)
    with zipfile.ZipFile(base / "images_background_small1.zip", "a") as archive:
        archive.writestr("cover.png", "no drawing")

    assert len(load("omniglot", tmp_path)) == 60


def test_a_cut_omniglot_file_is_named(tmp_path):
    file = write_omniglot(tmp_path) / "images_background_small1.zip"
    file.write_bytes(file.read_bytes()[:2000])

    with pytest.raises(HarnessError, match=r"small1.zip is damaged") as caught:
        load("omniglot", tmp_path)

    assert caught.value.hint == "get the file again"


def test_an_omniglot_drawing_of_another_size_is_named(tmp_path):
    base = write_omniglot(tmp_path, zipped=False)
    Image.new("L", (28, 28)).save(min(base.rglob("*.png")))

    with pytest.raises(HarnessError, match=r"character01/0001_01.png is 28x28, not 105x105"):
        load("omniglot", tmp_path)


def test_an_omniglot_without_test_alphabets_is_refused(tmp_path):
    base = write_omniglot(tmp_path)
    with zipfile.ZipFile(base / "images_background_small2.zip", "w") as archive:
        archive.writestr("images_background_small2/readme.txt", "nothing here")

    with pytest.raises(HarnessError, match=r"small2.zip has no drawings"):
        load("omniglot", tmp_path)


CSV_DAMAGE = {
    "no-label-column": ("path,class\na.jpg,1\n", r"list.csv:1: no column 'label'"),
    "unknown-column": ("path,label,fold\na.jpg,1,2\n", r"list.csv:1: unknown column 'fold'"),
    "image-missing": ("path,label\nb.jpg,1\n", r"list.csv:2: image .*b.jpg is listed but missing"),
    "label-empty": ("path,label\na.jpg,\n", r"list.csv:2: label is empty"),
    "line-too-short": ("path,label\na.jpg\n", r"list.csv:2: 1 fields, the header has 2"),
    "unknown-part": ("path,label,part\na.jpg,1,dev\n", r"list.csv:2: part 'dev' is none of"),
    "id-no-number": ("path,label,id\na.jpg,1,x\n", r"list.csv:2: 'x' is not a whole number"),
    "id-twice": (
        "path,label,id\na.jpg,1,4\na.jpg,1,4\n",
        r"'csv' has sample ids that occur twice",
    ),
    "no-rows": ("path,label\n", r"holds no images"),
    "empty": ("", r"list.csv:1: no column 'path'"),
}


@pytest.mark.parametrize("damage", CSV_DAMAGE)
def test_a_bad_csv_file_is_named_with_its_line(damage, tmp_path):
    text, message = CSV_DAMAGE[damage]
    (tmp_path / "list.csv").write_text(text)
    (tmp_path / "a.jpg").write_bytes(b"only its presence counts")

    with pytest.raises(HarnessError, match=message):
        load("csv", tmp_path, path="list.csv")


def test_a_csv_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "list.csv").write_bytes(b"path,label\n\xff\xfe,1\n")

    with pytest.raises(HarnessError, match=r"list.csv is no CSV file in UTF-8"):
        load("csv", tmp_path, path="list.csv")


def test_an_image_outside_a_class_folder_is_named(tmp_path):
    (tmp_path / "own" / "a").mkdir(parents=True)
    (tmp_path / "own" / "a" / "1.jpg").touch()
    (tmp_path / "own" / "stray.png").touch()

    with pytest.raises(HarnessError, match=r"stray.png lies in no class folder") as caught:
        load("folder", tmp_path, path="own")

    assert "CLASS/image.jpg" in str(caught.value.hint)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(HarnessError, match="holds no images"):
        load("folder", tmp_path, path=".")
