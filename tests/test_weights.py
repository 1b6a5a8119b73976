from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.contracts import BackboneContext
from harness.download import Patience
from harness.errors import HarnessError, MissingDataError
from harness.specs import WeightFile
from harness.testing.site import Site, serving
from harness.weights import (
    choose,
    default_folder,
    fetch,
    file_name,
    fingerprint,
    locate,
    require,
    resolve,
)

CONTENT = bytes(range(256)) * 20_000  # 5 MB, several pieces
SHA256 = hashlib.sha256(CONTENT).hexdigest()
IMPATIENT = Patience(timeout=20, attempts=2, pause=0.01)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as running:
        running.put("net-1a2b.pth", CONTENT)
        yield running


def weight_file(site: Site, name: str = "net-1a2b.pth", sha256: str = SHA256[:8]) -> WeightFile:
    return WeightFile(url=f"{site.address}/{name}", sha256=sha256)


@pytest.fixture(autouse=True)
def empty_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HARNESS_WEIGHTS", str(tmp_path / "default"))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- fetching: the tests of harness.download say the rest ---------------------------------------


def test_a_fetched_file_is_whole_and_alone_in_its_folder(site: Site, tmp_path: Path):
    folder = tmp_path / "new" / "folder"

    path = fetch(weight_file(site), folder)

    assert path == folder / "net-1a2b.pth"
    assert path.read_bytes() == CONTENT
    assert names_in(folder) == [path.name]


def test_another_file_than_promised_is_refused_and_leaves_nothing(site: Site, tmp_path: Path):
    with pytest.raises(HarnessError, match=f"{SHA256}, not 0badc0de"):
        fetch(weight_file(site, sha256="0badc0de"), tmp_path, patience=IMPATIENT)

    assert names_in(tmp_path) == []


def test_a_folder_that_is_a_file_is_one_message(site: Site, tmp_path: Path):
    (tmp_path / "taken").touch()

    with pytest.raises(HarnessError, match="cannot write") as caught:
        fetch(weight_file(site), tmp_path / "taken")

    assert "HARNESS_WEIGHTS" in str(caught.value.hint)


# --- finding ------------------------------------------------------------------------------------

LOCAL = WeightFile(url="http://127.0.0.1:9/some/net-1%2B1.pth?raw=1", sha256=SHA256[:8])


def put(folder: Path, content: bytes = CONTENT) -> Path:
    folder.mkdir(parents=True)
    path = folder / file_name(LOCAL)
    path.write_bytes(content)
    return path


def test_the_name_of_a_file_is_the_end_of_its_address():
    assert file_name(LOCAL) == "net-1+1.pth"


def test_the_folder_comes_before_the_cache_of_torch_hub(tmp_path: Path):
    assert locate(LOCAL, tmp_path / "mine") is None

    hub = put(tmp_path / "torch" / "hub" / "checkpoints")
    assert locate(LOCAL, tmp_path / "mine") == hub

    mine = put(tmp_path / "mine")
    assert locate(LOCAL, tmp_path / "mine") == mine


def test_the_default_folder_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = put(tmp_path / "default")
    assert locate(LOCAL) == path

    monkeypatch.delenv("HARNESS_WEIGHTS")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "harness" / "weights"


def test_a_missing_file_says_where_it_was_looked_for_and_what_to_type(tmp_path: Path):
    with pytest.raises(MissingDataError) as caught:
        require(LOCAL, tmp_path / "mine")

    assert str(tmp_path / "mine" / "net-1+1.pth") in caught.value.message
    assert str(tmp_path / "torch" / "hub" / "checkpoints" / "net-1+1.pth") in caught.value.message
    assert "--download" in str(caught.value.hint)
    assert LOCAL.url in str(caught.value.hint)
    assert not (tmp_path / "mine").exists()


def test_a_damaged_file_is_not_used(tmp_path: Path):
    path = put(tmp_path / "mine", CONTENT[:-1])

    with pytest.raises(HarnessError, match="damaged: its SHA-256") as caught:
        require(LOCAL, tmp_path / "mine")

    assert str(path) in caught.value.message
    assert "delete it" in str(caught.value.hint)


def test_a_file_is_fetched_once(site: Site, tmp_path: Path):
    file = weight_file(site)

    first = require(file, tmp_path, download=True)
    second = require(file, tmp_path, download=True)

    assert first == second
    assert [asked.name for asked in site.asked] == ["net-1a2b.pth"]


# --- what a protocol's `backbone.weights` means -------------------------------------------------


def test_none_means_random_values():
    assert resolve({"imagenet": LOCAL}, BackboneContext(weights="none")) is None


def test_a_key_of_the_card_comes_before_a_file_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imagenet").touch()
    published = put(tmp_path / "mine")
    context = BackboneContext(weights="imagenet", folder=tmp_path / "mine")

    assert resolve({"imagenet": LOCAL}, context) == published


def test_a_path_is_taken_as_it_is(tmp_path: Path):
    path = tmp_path / "own.pt"
    path.touch()

    assert resolve({}, BackboneContext(weights=str(path))) == path


@pytest.mark.parametrize(
    ("weights", "hint"),
    [
        pytest.param("imagnet", "did you mean 'imagenet'?", id="typo"),
        pytest.param("no/such.pt", "set backbone.weights: imagenet", id="no-file"),
    ],
)
def test_other_words_are_refused(weights: str, hint: str):
    with pytest.raises(HarnessError, match="is no file, and not one of none, imagenet") as caught:
        choose(weights, {"imagenet": LOCAL})

    assert caught.value.hint == hint


def test_a_fingerprint_follows_the_content_of_a_file_and_not_its_place(tmp_path: Path):
    (tmp_path / "a.pt").write_bytes(b"first")
    (tmp_path / "b.pt").write_bytes(b"first")
    (tmp_path / "c.pt").write_bytes(b"second")

    first, moved, second = (fingerprint(str(tmp_path / f"{name}.pt"), {}) for name in "abc")

    assert first == moved == f"sha256:{hashlib.sha256(b'first').hexdigest()}"
    assert second != first


def test_a_published_file_without_a_digest_goes_by_its_address_and_is_used_as_it_is(
    tmp_path: Path,
):
    file = WeightFile(url="https://example.org/w.pth")
    (tmp_path / "w.pth").write_bytes(b"whatever it holds")

    assert fingerprint("imagenet", {"imagenet": file}) == "url:https://example.org/w.pth"
    assert require(file, tmp_path) == tmp_path / "w.pth"


def test_fingerprints_of_published_weights_need_no_file():
    assert fingerprint("none", {"imagenet": LOCAL}) == "none"
    assert fingerprint("imagenet", {"imagenet": LOCAL}) == f"sha256:{SHA256[:8]}"
