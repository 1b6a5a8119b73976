"""Every data set that can be fetched, from a server on this machine."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from harness_datasets import harness_datasets

from harness.api import DataContext, DatasetSpec, HarnessError, MissingDataError, SampleTable
from harness.data.fetching import fetch
from harness.data.manifest import manifest_digest
from harness.download import Patience
from harness.testing.site import Fault, Site, serving
from harness.testing.toys import write_cars, write_cub, write_inshop, write_omniglot, write_sop

CARDS = {card.name: card for card in harness_datasets()}
IMPATIENT = Patience(timeout=5, attempts=2, pause=0.01)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as running:
        yield running


def packed(folder: Path, suffix: str) -> bytes:
    """Return a folder as an archive that holds it and a file beside it."""
    data = io.BytesIO()
    if suffix == ".zip":
        with zipfile.ZipFile(data, "w") as archive:
            for path in sorted(folder.rglob("*")):
                archive.write(path, path.relative_to(folder.parent))
    else:
        with tarfile.open(fileobj=data, mode="w:gz") as archive:
            archive.add(folder, folder.name)
            archive.addfile(tarfile.TarInfo("attributes.txt"))
    return data.getvalue()


def published(name: str, folder: Path) -> dict[str, bytes]:
    """Write a small copy of a data set and return the files it would be published as."""
    match name:
        case "omniglot":
            base = write_omniglot(folder)
            return {path.name: path.read_bytes() for path in base.iterdir()}
        case "cub200":
            return {"CUB_200_2011.tgz": packed(write_cub(folder, classes=4), ".tgz")}
        case "sop":
            return {"Stanford_Online_Products.zip": packed(write_sop(folder), ".zip")}
        case "cars196":
            base = write_cars(folder, classes=4)
            return {
                "car_ims.tgz": packed(base / "car_ims", ".tgz"),
                "cars_annos.mat": (base / "cars_annos.mat").read_bytes(),
            }
        case _:
            base = write_inshop(folder)
            return {
                "Img/img.zip": packed(base / "Img" / "img", ".zip"),
                "Eval/list_eval_partition.txt": (
                    base / "Eval" / "list_eval_partition.txt"
                ).read_bytes(),
            }


def card_on(site: Site, name: str, files: dict[str, bytes]) -> DatasetSpec:
    """Return the card of a data set with the addresses and checksums of a small copy."""
    for file, content in files.items():
        site.put(file, content)
    local = [
        replace(
            file,
            urls=tuple(f"{site.address}/{place}{file.name}" for place in ("gone/", "")),
            size=len(files[file.name]),
            md5=hashlib.md5(files[file.name], usedforsecurity=False).hexdigest(),
            sha256="",
        )
        for file in CARDS[name].files
    ]
    return replace(CARDS[name], files=tuple(local))


def load(card: DatasetSpec, root: Path) -> SampleTable:
    return card.build(card.params.model_validate({"allow_partial": True}), DataContext(root))


FETCHED = pytest.mark.parametrize("name", ["omniglot", "cub200", "cars196", "sop", "inshop"])


@FETCHED
def test_what_is_fetched_is_what_was_published(site: Site, tmp_path: Path, name: str):
    card = card_on(site, name, published(name, tmp_path / "source"))

    fetch(card, tmp_path / "data", patience=IMPATIENT)

    table = load(card, tmp_path / "data")
    assert manifest_digest(table) == manifest_digest(load(card, tmp_path / "source"))
    assert not [path for path in (tmp_path / "data").rglob("*") if path.suffix == ".tgz"]
    assert not [path for path in (tmp_path / "data").rglob(".*") if "harness" not in path.name]


@FETCHED
def test_a_fetch_that_was_cut_goes_on(site: Site, tmp_path: Path, name: str):
    card = card_on(site, name, published(name, tmp_path / "source"))
    cut = card.files[-1].name
    half = len(site.files[cut]) // 2
    site.faults[cut] = Fault(cut_after=half, ranges=False)
    with pytest.raises(HarnessError, match="the connection ended after"):
        fetch(card, tmp_path / "data", patience=IMPATIENT)
    del site.faults[cut], site.asked[:]

    fetch(card, tmp_path / "data", patience=IMPATIENT)

    assert [asked.range for asked in site.asked if asked.name == cut] == [f"bytes={half}-"]
    assert {asked.name.removeprefix("gone/") for asked in site.asked} == {cut}
    assert len(load(card, tmp_path / "data")) == len(load(card, tmp_path / "source"))


def test_nothing_is_asked_for_twice(site: Site, tmp_path: Path):
    card = card_on(site, "cars196", published("cars196", tmp_path / "source"))
    fetch(card, tmp_path / "data")
    site.asked.clear()

    fetch(card, tmp_path / "data")

    assert site.asked == []


def test_archives_are_kept_when_asked_for(site: Site, tmp_path: Path):
    card = card_on(site, "cub200", published("cub200", tmp_path / "source"))

    folder = fetch(card, tmp_path / "data", keep=True)

    assert (folder / "CUB_200_2011.tgz").read_bytes() == site.files["CUB_200_2011.tgz"]


def test_an_archive_that_a_person_put_there_is_checked_unpacked_and_kept(tmp_path: Path):
    with serving() as gone:
        card = card_on(gone, "cub200", published("cub200", tmp_path / "source"))
    archive = tmp_path / "data" / "cub200" / "CUB_200_2011.tgz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(gone.files[archive.name])

    fetch(card, tmp_path / "data")

    assert archive.exists()
    assert gone.asked == []
    assert len(load(card, tmp_path / "data")) == 8


@pytest.mark.parametrize("place", ["cub200/CUB_200_2011 (1).tgz", "birds.tgz"])
def test_an_archive_of_another_name_is_known_by_its_bytes(site: Site, tmp_path: Path, place: str):
    card = card_on(site, "cub200", published("cub200", tmp_path / "source"))
    archive = tmp_path / "data" / place
    archive.parent.mkdir(parents=True)
    archive.write_bytes(site.files["CUB_200_2011.tgz"])
    (archive.parent / "another.tgz").write_bytes(b"something else")

    fetch(card, tmp_path / "data")

    assert site.asked == []
    assert archive.read_bytes() == site.files["CUB_200_2011.tgz"]
    assert not (tmp_path / "data" / "cub200" / "CUB_200_2011.tgz").exists()
    assert len(load(card, tmp_path / "data")) == 8


def test_another_archive_that_a_person_put_there_is_refused(site: Site, tmp_path: Path):
    card = card_on(site, "cub200", published("cub200", tmp_path / "source"))
    archive = tmp_path / "data" / "cub200" / "CUB_200_2011.tgz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"something else")

    with pytest.raises(HarnessError, match=r"CUB_200_2011.tgz is not the published file: it has"):
        fetch(card, tmp_path / "data")

    assert archive.read_bytes() == b"something else"


def test_a_file_that_only_a_person_can_get_is_named_with_its_place(tmp_path: Path):
    with pytest.raises(MissingDataError, match="must be fetched by a person") as caught:
        fetch(CARDS["inshop"], tmp_path / "data")

    assert f"{tmp_path}/data/Inshop_Clothes/Img/img.zip" in caught.value.message
    assert f"as {tmp_path}/data/Inshop_Clothes/Img/img.zip" in str(caught.value.hint)
    assert "FOLDER" not in str(caught.value.hint)
    assert not (tmp_path / "data").exists()


def test_what_a_person_got_of_inshop_is_unpacked(tmp_path: Path):
    for name, content in published("inshop", tmp_path / "source").items():
        path = tmp_path / "data" / "Inshop_Clothes" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)

    fetch(CARDS["inshop"], tmp_path / "data")

    assert len(load(CARDS["inshop"], tmp_path / "data")) == 27


def test_what_needs_no_fetching_says_so(tmp_path: Path):
    with pytest.raises(HarnessError, match="'digits' cannot be fetched") as caught:
        fetch(CARDS["digits"], tmp_path)

    assert "comes with scikit-learn" in str(caught.value.hint)


def test_a_dangerous_archive_leaves_nothing_but_itself(site: Site, tmp_path: Path):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("Stanford_Online_Products/../../../evil.txt", "evil")
    card = card_on(site, "sop", {"Stanford_Online_Products.zip": data.getvalue()})

    with pytest.raises(HarnessError, match="leads out of the folder"):
        fetch(card, tmp_path / "data")

    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [card.files[0].name]


def test_progress_names_what_is_fetched_and_what_is_unpacked(site: Site, tmp_path: Path):
    card = card_on(site, "cub200", published("cub200", tmp_path / "source"))
    told: list[tuple[str, int, int | None]] = []

    fetch(card, tmp_path / "data", progress=lambda *one: told.append(one))

    titles = dict.fromkeys(title for title, _, _ in told)
    assert list(titles) == ["cub200 CUB_200_2011.tgz", "cub200 CUB_200_2011.tgz, unpacking"]
    assert told[-1][1] == told[-1][2] == len(site.files["CUB_200_2011.tgz"])


def test_a_data_folder_that_cannot_be_used_is_one_message(tmp_path: Path):
    (tmp_path / "data").touch()

    with pytest.raises(HarnessError, match="cannot write") as caught:
        fetch(CARDS["omniglot"], tmp_path / "data")

    assert "--data" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["digits", "omniglot", "cub200", "cars196", "sop", "inshop"])
def test_the_counts_of_the_parts_add_up_to_those_of_the_card(name: str):
    card = CARDS[name]

    assert sum(part.images for part in card.parts) == card.num_images
    classes = {part.part: part.classes for part in card.parts if part.part != "gallery"}
    assert sum(classes.values()) == card.num_classes
