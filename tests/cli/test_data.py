"""`harness data` and `harness weights`, with a server on this machine."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator

import pytest

from harness.download import size_text
from harness.testing.site import Site, serving
from harness.testing.toys import toy_image


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with serving() as running:
        running.put("pictures.tgz", pictures())
        running.put("stripes.pth", b"numbers" * 1000)
        digest = hashlib.md5(running.files["pictures.tgz"], usedforsecurity=False).hexdigest()
        monkeypatch.setenv("WEBDATA_SITE", running.address)
        monkeypatch.setenv("WEBDATA_MD5", digest)
        yield running


@pytest.fixture
def harness(harness, install, web, tmp_path, monkeypatch):
    """Run a command line with a third party's data set; its server is the test's."""
    install("webdata")
    monkeypatch.setenv("HARNESS_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return harness


def pictures() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for label in range(1, 9):
            for number in range(8):
                image = io.BytesIO()
                toy_image(label, number, size=(20, 16)).save(image, "JPEG")
                member = tarfile.TarInfo(f"pictures/{label}/{number}.jpg")
                member.size = len(image.getvalue())
                archive.addfile(member, io.BytesIO(image.getvalue()))
    return data.getvalue()


def names(web: Site) -> list[str]:
    return [asked.name for asked in web.asked]


def test_a_data_set_is_fetched_once_from_the_mirror_that_has_it(harness, web):
    first = harness("data", "fetch", "pictures")
    second = harness("data", "fetch", "pictures")

    assert first == (
        0,
        "pictures is in data/pictures; next: harness data verify pictures\n",
        first.err,
    )
    assert "pictures pictures.tgz:" in first.err
    size = size_text(len(web.files["pictures.tgz"]))
    assert first.err.count(f"pictures pictures.tgz, unpacking: {size} of {size}\n") == 1
    assert second == (0, "pictures is here already: data/pictures\n", "")
    assert names(web) == ["gone.tgz", "pictures.tgz"]


def test_a_listing_says_what_is_here_and_what_is_missing(harness):
    before = harness("data", "list", "--json")
    harness("data", "fetch", "pictures")
    after = harness("data", "list", "--json")

    states = [
        {row["dataset"]: (row["state"], row["about"]) for row in records}
        for records in (map(json.loads, ended.out.splitlines()) for ended in (before, after))
    ]
    assert states[0]["pictures"] == ("missing", "harness data fetch pictures")
    assert states[1]["pictures"] == ("here", "data/pictures")
    assert states[1]["digits"] == ("here", "in memory")
    assert states[1]["folder"] == ("yours", "set dataset.params.path to the folder")


def state_of(harness, name: str, *words: str) -> list[str]:
    lines = harness("data", "list", *words).out.splitlines()
    (words_of,) = [line.split() for line in lines if line.startswith(f"{name} ")]
    return words_of[3:]


def test_a_listing_says_what_has_come_of_a_data_set(harness, tmp_path):
    folder = tmp_path / "my data" / "pictures"
    folder.mkdir(parents=True)
    (folder / ".pictures.tgz.part").write_bytes(b"beginning")

    cut = state_of(harness, "pictures", "--data", "my data")
    (folder / "pictures.tgz").write_bytes(pictures())
    packed = state_of(harness, "pictures", "--data", "my data")

    command = "harness data fetch pictures --data 'my data'"
    assert " ".join(cut) == f"partial 9 bytes of pictures.tgz are here; {command}"
    assert " ".join(packed) == f"partial pictures.tgz is not unpacked; {command}"


def test_a_listing_is_a_table(harness):
    ended = harness("data", "list")

    assert ended.code == 0
    assert ended.out.splitlines()[0].split() == [
        "data",
        "set",
        "images",
        "classes",
        "state",
        "about",
    ]


def test_a_fetch_of_several_files_goes_on_with_those_that_are_missing(harness, web):
    first = harness("data", "fetch", "album")
    listed = state_of(harness, "album")
    web.put("names.txt", b"stripes")
    web.asked.clear()

    second = harness("data", "fetch", "album")

    assert first.code == 2
    assert "cannot download names.txt" in first.err
    assert " ".join(listed) == "partial names.txt is missing; harness data fetch album"
    assert second.code == 0, second.err
    assert names(web) == ["names.txt"]


def test_a_copy_that_a_fetch_would_leave_as_it_is_must_make_way(harness, tmp_path):
    (tmp_path / "data" / "cub200" / "CUB_200_2011").mkdir(parents=True)

    ended = harness("data", "fetch", "cub200")

    assert ended.code == 2
    assert "data set 'cub200' is not in" in ended.err
    assert "hint: move that copy away, then type the same again" in ended.err


def test_verifying_counts_decodes_and_prints_a_digest(harness, tmp_path):
    harness("data", "fetch", "pictures")

    ended = harness("data", "verify", "pictures")

    assert ended.code == 0
    assert ["train", "32", "4"] in [line.split() for line in ended.out.splitlines()]
    assert "all images can be read, as the official copy has them" in ended.out
    assert (tmp_path / "data" / "pictures" / ".harness-manifest.tsv").exists()


def test_what_is_wrong_is_listed_and_the_exit_code_says_so(harness, tmp_path):
    harness("data", "fetch", "pictures")
    base = tmp_path / "data" / "pictures" / "pictures"
    healthy = json.loads(harness("data", "verify", "pictures", "--json").out)
    (base / "3" / "5.jpg").write_bytes((base / "3" / "5.jpg").read_bytes()[:-200])
    (base / "7" / "1.jpg").unlink()

    ended = harness("data", "verify", "pictures", "--json")

    found = json.loads(ended.out)
    assert ended.code == 1
    assert (
        found["problems"][0]
        == "part test: 31 images of 4 classes; the official copy has 32 images of 4 classes"
    )
    assert "image data/pictures/pictures/3/5.jpg cannot be read" in found["problems"][1]
    assert len(found["problems"]) == 2
    assert healthy["problems"] == []
    assert found["manifest_digest"] != healthy["manifest_digest"]
    assert "problem: " in harness("data", "verify", "pictures").out


def test_verifying_goes_on_past_a_file_that_gives_no_bytes(harness, tmp_path):
    harness("data", "fetch", "pictures")
    base = tmp_path / "data" / "pictures" / "pictures"
    (base / "1" / "0.jpg").unlink()
    (base / "1" / "0.jpg").symlink_to("nowhere")
    (base / "3" / "0.jpg").write_bytes(b"")

    ended = harness("data", "verify", "pictures", "--json")

    found = json.loads(ended.out)
    assert ended.code == 1
    assert found["manifest_digest"] is None
    assert [text.removeprefix("image data/pictures/pictures/") for text in found["problems"]] == [
        "1/0.jpg is missing",
        "3/0.jpg is not an image, or damaged",
    ]
    assert "none: not all files can be read" in harness("data", "verify", "pictures").out


def test_digits_are_verified_in_memory(harness):
    ended = harness("data", "verify", "digits", "--json")

    found = json.loads(ended.out)
    assert ended.code == 0
    assert found["parts"] == found["official"]


def test_a_folder_of_your_own_is_verified_with_its_path(harness):
    harness("data", "fetch", "pictures")

    ended = harness("data", "verify", "folder", "--set", "path=pictures/pictures", "--json")

    assert json.loads(ended.out)["parts"] == [{"part": "all", "images": 64, "classes": 8}]


def test_the_path_is_printed_for_scripts(harness, tmp_path):
    harness("data", "fetch", "pictures")

    assert harness("data", "path", "pictures").out == f"{tmp_path}/data/pictures\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("data", "verify", "pictures"), "error: no data/pictures/pictures"),
        (("data", "path", "digits"), "error: data set 'digits' has no folder"),
        (("data", "fetch", "picture"), "did you mean 'pictures'?"),
        (("data", "verify", "folder", "--set", "path"), "--set 'path' is not NAME=VALUE"),
        (("data", "verify", "folder"), "hint: add --set path=…"),
        (("data", "path", "folder"), "error: data set 'folder' needs path: the folder; relative"),
        (("data", "fetch", "inshop"), "Inshop_Clothes/Img/img.zip"),
        (("weights", "fetch", "stripes_net", "stripe"), "did you mean 'stripes'?"),
    ],
)
def test_bad_input_is_one_message(harness, words, message):
    ended = harness(*words)

    assert message in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    "words", [("data", "fetch", "pictures"), ("weights", "fetch", "stripes_net")]
)
def test_settings_that_say_offline_win(harness, web, monkeypatch, words):
    monkeypatch.setenv("HARNESS_OFFLINE", "1")

    ended = harness(*words)

    assert ended.code == 2
    assert "asks for the network, and the settings say offline" in ended.err
    assert web.asked == []


def test_weights_are_fetched_once_and_listed(harness, web, tmp_path):
    place = f"{tmp_path}/weights/stripes.pth"

    fetched = [harness("weights", "fetch", "stripes_net").out for _ in range(2)]
    listed = harness("weights", "list", "--json").out.splitlines()

    assert fetched == [f"{place}\n"] * 2
    assert names(web) == ["stripes.pth"]
    rows = [json.loads(line) for line in listed]
    assert [row["path"] for row in rows if row["backbone"] == "stripes_net"] == [place]


def test_nothing_is_fetched_that_was_not_asked_for(harness, web):
    for words in (
        ("data", "list"),
        ("weights", "list"),
        ("data", "verify", "pictures"),
        ("doctor",),
    ):
        harness(*words)

    assert web.asked == []


@pytest.mark.slow
def test_a_run_with_download_fetches_its_data(harness, web, tmp_path):
    words = (
        *("run", "digits", "--plugin", "contrastive", "--smoke"),
        *("--deviate", "dataset.name=pictures", "--deviate", "training.batch_size=16"),
    )
    refused = harness(*words)
    assert refused.code == 2
    assert web.asked == []

    ended = harness(*words, "--download")

    assert ended.code in {0, 3}, ended.err
    assert (tmp_path / "data" / "pictures" / "pictures").is_dir()
