from __future__ import annotations

import errno
import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.contracts import BackboneContext
from harness.errors import HarnessError, MissingDataError
from harness.specs import WeightFile
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


class Site(http.server.ThreadingHTTPServer):
    """A web server on this machine, and the paths it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked: list[str] = []
        self.stop = threading.Event()
        self.address = f"http://127.0.0.1:{self.server_port}"

    def file(self, name: str, sha256: str = SHA256[:8]) -> WeightFile:
        return WeightFile(url=f"{self.address}/{name}", sha256=sha256)


class Answers(http.server.BaseHTTPRequestHandler):
    """The first word of a file's name says how it is answered."""

    server: Site

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        word = self.path[1:].partition("-")[0]
        getattr(self, f"answer_{word}")()

    def start(self, *headers: tuple[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def answer_good(self) -> None:
        self.start(("Content-Length", str(len(CONTENT))))
        self.wfile.write(CONTENT)

    def answer_moved(self) -> None:
        self.start(("Location", "/good-b.pth"), status=302)

    def answer_unsized(self) -> None:
        self.start()
        self.wfile.write(CONTENT)

    def answer_short(self) -> None:
        self.start(("Content-Length", str(len(CONTENT))))
        self.wfile.write(CONTENT[:1000])

    def answer_silent(self) -> None:
        self.start(("Content-Length", str(len(CONTENT))))
        self.server.stop.wait(10)

    def answer_absent(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Site]:
    with Site() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.stop.set()
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def empty_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HARNESS_WEIGHTS", str(tmp_path / "default"))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- fetching -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["good-a.pth", "moved-a.pth", "unsized-a.pth"])
def test_a_fetched_file_is_whole_and_alone_in_its_folder(server: Site, tmp_path: Path, name: str):
    folder = tmp_path / "new" / "folder"

    path = fetch(server.file(name), folder)

    assert path == folder / name
    assert path.read_bytes() == CONTENT
    assert names_in(folder) == [name]


def test_progress_ends_at_the_size_the_server_promised(server: Site, tmp_path: Path):
    seen: list[tuple[int, int | None]] = []

    fetch(server.file("good-a.pth"), tmp_path, progress=lambda *told: seen.append(told))

    assert len(seen) > 1
    assert seen == sorted(seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_progress_has_no_total_when_the_server_gives_none(server: Site, tmp_path: Path):
    seen: list[tuple[int, int | None]] = []

    fetch(server.file("unsized-a.pth"), tmp_path, progress=lambda *told: seen.append(told))

    assert seen[-1] == (len(CONTENT), None)


@pytest.mark.parametrize(
    ("name", "sha256", "match"),
    [
        pytest.param("absent-a.pth", SHA256, "404 Not Found", id="404"),
        pytest.param("short-a.pth", SHA256, "after 1000 of 5120000 bytes", id="short"),
        pytest.param("silent-a.pth", SHA256, "timed out", id="silent"),
        pytest.param("good-a.pth", "0badc0de", f"{SHA256[:8]}, not with 0badc0de", id="other"),
    ],
)
def test_a_failed_download_says_why_and_leaves_nothing(
    server: Site, tmp_path: Path, name: str, sha256: str, match: str
):
    with pytest.raises(HarnessError, match=match) as caught:
        fetch(server.file(name, sha256), tmp_path / "folder", timeout=0.3)

    assert server.address in caught.value.message
    assert names_in(tmp_path / "folder") == []


def test_a_server_that_is_not_there_is_one_message(tmp_path: Path):
    with pytest.raises(HarnessError, match="Connection refused") as caught:
        fetch(WeightFile(url="http://127.0.0.1:9/a.pth", sha256=""), tmp_path)

    assert "check the network" in str(caught.value.hint)


def test_only_web_addresses_are_fetched(tmp_path: Path):
    (tmp_path / "a.pth").touch()

    with pytest.raises(HarnessError, match="not an http or https address"):
        fetch(WeightFile(url=f"file://{tmp_path}/a.pth", sha256=""), tmp_path / "folder")


def test_a_folder_that_is_a_file_is_one_message(server: Site, tmp_path: Path):
    (tmp_path / "taken").touch()

    with pytest.raises(HarnessError, match="cannot write") as caught:
        fetch(server.file("good-a.pth"), tmp_path / "taken")

    assert "HARNESS_WEIGHTS" in str(caught.value.hint)


def test_a_full_disk_is_one_message_and_leaves_nothing(
    server: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(HarnessError, match="No space left on device"):
        fetch(server.file("good-a.pth"), tmp_path / "folder")

    assert names_in(tmp_path / "folder") == []


def test_an_interrupted_download_leaves_nothing(server: Site, tmp_path: Path):
    def interrupt(received: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(server.file("good-a.pth"), tmp_path / "folder", progress=interrupt)

    assert names_in(tmp_path / "folder") == []


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


def test_a_file_is_fetched_once(server: Site, tmp_path: Path):
    file = server.file("good-a.pth")

    first = require(file, tmp_path, download=True)
    second = require(file, tmp_path, download=True)

    assert first == second
    assert server.asked == ["/good-a.pth"]


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
