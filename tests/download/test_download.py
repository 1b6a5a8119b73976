from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.download import Patience, Promise, download, size_text
from harness.errors import HarnessError
from harness.testing.site import Fault, Site, serving

CONTENT = bytes(range(256)) * 20_000  # 5 MB, several pieces
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SIGNED = Promise(size=len(CONTENT), md5=MD5, sha256=SHA256)
IMPATIENT = Patience(timeout=20, attempts=2, pause=0.01)  # machines that test may be busy
WAITS_A_SECOND = Patience(timeout=1, attempts=2, pause=0.01)  # for a server that is silent
HALF = len(CONTENT) // 2


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as running:
        yield running


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def part_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def ranges(site: Site) -> list[str | None]:
    return [asked.range for asked in site.asked]


# --- all is well --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [Fault(), Fault(sized=False), Fault(tagged=False), Fault(ranges=False)], ids=str
)
def test_a_file_is_whole_and_alone_in_its_folder(site: Site, tmp_path: Path, fault: Fault):
    target = tmp_path / "new" / "folder" / "a.zip"

    path = download([site.put("a.zip", CONTENT, fault)], target, SIGNED)

    assert path == target
    assert path.read_bytes() == CONTENT
    assert names_in(target.parent) == ["a.zip"]


def test_progress_rises_to_the_size_of_the_file(site: Site, tmp_path: Path):
    told: list[tuple[int, int | None]] = []
    url = site.put("a.zip", CONTENT)

    download([url], tmp_path / "a.zip", progress=lambda *one: told.append(one))

    assert len(told) > 1
    assert told == sorted(told)
    assert told[-1] == (len(CONTENT), len(CONTENT))


def test_progress_has_no_total_when_the_server_gives_none(site: Site, tmp_path: Path):
    told: list[tuple[int, int | None]] = []
    url = site.put("a.zip", CONTENT, Fault(sized=False))

    download([url], tmp_path / "a.zip", progress=lambda *one: told.append(one))

    assert told[-1] == (len(CONTENT), None)


def test_an_empty_file_is_a_file(site: Site, tmp_path: Path):
    download([site.put("a.txt", b"")], tmp_path / "a.txt", Promise(size=0))

    assert (tmp_path / "a.txt").read_bytes() == b""


def test_a_file_that_is_here_is_left_alone(site: Site, tmp_path: Path):
    (tmp_path / "a.zip").write_bytes(b"mine")

    download([site.put("a.zip", CONTENT)], tmp_path / "a.zip")

    assert (tmp_path / "a.zip").read_bytes() == b"mine"
    assert site.asked == []


# --- cut connections ----------------------------------------------------------------------------


def test_a_cut_connection_is_taken_up_where_it_ended(site: Site, tmp_path: Path):
    url = site.put("a.zip", CONTENT, Fault(cut_after=HALF, times=1))

    path = download([url], tmp_path / "a.zip", SIGNED, patience=IMPATIENT)

    assert path.read_bytes() == CONTENT
    assert ranges(site) == [None, f"bytes={HALF}-"]
    assert site.asked[1].if_range == f'"{SHA256[:16]}"'


def test_a_silent_server_is_asked_again_and_nothing_that_came_is_lost(site: Site, tmp_path: Path):
    url = site.put("a.zip", CONTENT, Fault(stall_after=HALF + 7, times=1))

    path = download([url], tmp_path / "a.zip", SIGNED, patience=WAITS_A_SECOND)

    assert path.read_bytes() == CONTENT
    assert ranges(site) == [None, f"bytes={HALF + 7}-"]


def test_a_server_that_gives_a_little_each_time_is_not_given_up(site: Site, tmp_path: Path):
    url = site.put("a.zip", CONTENT, Fault(cut_after=len(CONTENT) // 10))

    download([url], tmp_path / "a.zip", SIGNED, patience=IMPATIENT)

    assert len(site.asked) == 10


def test_what_came_is_kept_for_the_next_command(site: Site, tmp_path: Path):
    target = tmp_path / "a.zip"
    url = site.put("a.zip", CONTENT, Fault(cut_after=HALF, ranges=False))
    with pytest.raises(HarnessError, match=f"after {HALF} of {len(CONTENT)} bytes") as caught:
        download([url], target, SIGNED, patience=IMPATIENT)
    assert part_of(target).read_bytes() == CONTENT[:HALF]
    assert caught.value.hint == f"{size_text(HALF)} are kept; the same command goes on from there"
    del site.faults["a.zip"], site.asked[:]

    download([url], target, SIGNED)

    assert ranges(site) == [f"bytes={HALF}-"]
    assert target.read_bytes() == CONTENT
    assert names_in(tmp_path) == ["a.zip"]


def test_without_a_checksum_the_next_command_starts_anew(site: Site, tmp_path: Path):
    url = site.put("a.zip", CONTENT, Fault(cut_after=HALF, ranges=False))
    with pytest.raises(HarnessError, match="connection ended"):
        download([url], tmp_path / "a.zip", patience=IMPATIENT)

    assert names_in(tmp_path) == []


def test_a_file_that_changed_in_between_starts_anew(site: Site, tmp_path: Path):
    newer = CONTENT[::-1]
    url = site.put("a.zip", CONTENT, Fault(stall_after=HALF, times=1))

    def replace(received: int, _: int | None) -> None:
        if received >= HALF:
            site.files["a.zip"] = newer

    download([url], tmp_path / "a.zip", progress=replace, patience=WAITS_A_SECOND)

    assert (tmp_path / "a.zip").read_bytes() == newer


@pytest.mark.parametrize(
    "beginning",
    [
        pytest.param(b"rubbish" * 1000, id="of-another-file"),
        pytest.param(CONTENT + b"more", id="too-long"),
        pytest.param(b"x" * len(CONTENT), id="as-long"),
    ],
)
def test_a_wrong_beginning_is_dropped(site: Site, tmp_path: Path, beginning: bytes):
    target = tmp_path / "a.zip"
    part_of(target).write_bytes(beginning)

    download([site.put("a.zip", CONTENT)], target, SIGNED)

    assert target.read_bytes() == CONTENT


def test_a_complete_beginning_needs_no_more_bytes(site: Site, tmp_path: Path):
    target = tmp_path / "a.zip"
    part_of(target).write_bytes(CONTENT)

    download([site.put("a.zip", CONTENT)], target, SIGNED)

    assert target.read_bytes() == CONTENT
    assert ranges(site) == [f"bytes={len(CONTENT)}-"]


def test_a_server_that_sends_the_wrong_part_is_asked_for_the_whole(site: Site, tmp_path: Path):
    target = tmp_path / "a.zip"
    part_of(target).write_bytes(CONTENT[:HALF])

    download([site.put("a.zip", CONTENT, Fault(shift=1))], target, SIGNED)

    assert target.read_bytes() == CONTENT
    assert ranges(site) == [f"bytes={HALF}-", None]


# --- servers that do not give it ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "promise", "match"),
    [
        pytest.param(Fault(status=404), SIGNED, "404 Not Found", id="404"),
        pytest.param(Fault(status=503), SIGNED, "503 Service Unavailable", id="503"),
        pytest.param(Fault(kind="text/html"), SIGNED, "it sent a web page", id="web-page"),
        pytest.param(Fault(), Promise(size=7), "offers 5,120,000 bytes, not 7", id="size"),
        pytest.param(
            Fault(sized=False), Promise(size=7), "has 5,120,000 bytes, not 7", id="size-unsaid"
        ),
        pytest.param(Fault(), Promise(md5="0" * 32), f"MD5 is {MD5}, not 000", id="md5"),
        pytest.param(Fault(), Promise(sha256="0bad"), f"SHA-256 is {SHA256}, not 0bad…", id="sha"),
        pytest.param(Fault(stall_after=0), SIGNED, "timed out", id="silent"),
    ],
)
def test_a_file_that_is_not_given_is_one_message_and_nothing_stays(
    site: Site, tmp_path: Path, fault: Fault, promise: Promise, match: str
):
    url = site.put("a.zip", CONTENT, fault)
    patience = IMPATIENT if fault.stall_after is None else WAITS_A_SECOND

    with pytest.raises(HarnessError, match=match) as caught:
        download([url], tmp_path / "a.zip", promise, patience=patience)

    assert caught.value.message.startswith(f"cannot download a.zip: {url}: ")
    assert names_in(tmp_path) == []


def test_a_server_that_is_not_there_is_one_message(tmp_path: Path):
    with pytest.raises(HarnessError, match="Connection refused") as caught:
        download(["http://127.0.0.1:9/a.zip"], tmp_path / "a.zip")

    assert f"check the network, or get it on another machine and put it at {tmp_path}/a.zip" == (
        caught.value.hint
    )


def test_only_web_addresses_are_asked(tmp_path: Path):
    (tmp_path / "a.zip").touch()

    with pytest.raises(HarnessError, match="not an http or https address"):
        download([f"file://{tmp_path}/a.zip"], tmp_path / "folder" / "a.zip")


def test_mirrors_are_tried_in_order(site: Site, tmp_path: Path):
    site.put("page.zip", b"<html>quota exceeded</html>", Fault(kind="text/html"))
    site.put("other.zip", b"another file")
    site.put("good.zip", CONTENT)
    names = ["gone.zip", "page.zip", "other.zip", "good.zip", "unasked.zip"]

    path = download([f"{site.address}/{name}" for name in names], tmp_path / "a.zip", SIGNED)

    assert path.read_bytes() == CONTENT
    assert [asked.name for asked in site.asked] == names[:4]


def test_when_no_mirror_gives_it_each_is_named_with_its_reason(site: Site, tmp_path: Path):
    urls = [f"{site.address}/gone.zip", site.put("a.zip", b"another file")]

    with pytest.raises(HarnessError) as caught:
        download(urls, tmp_path / "a.zip", SIGNED)

    assert f"{urls[0]}: 404 Not Found" in caught.value.message
    assert f"{urls[1]}: it offers 12 bytes, not 5,120,000" in caught.value.message


def test_the_next_mirror_goes_on_where_the_first_ended(site: Site, tmp_path: Path):
    first = site.put("first.zip", CONTENT, Fault(cut_after=HALF, ranges=False))
    second = site.put("second.zip", CONTENT)

    download([first, second], tmp_path / "a.zip", SIGNED, patience=IMPATIENT)

    assert site.asked[-1] == ("second.zip", f"bytes={HALF}-", None)


# --- the disk, the user, and other processes ----------------------------------------------------

SCRIPT = """
import resource, sys
from pathlib import Path
from harness.download import Promise, download
from harness.errors import HarnessError
url, target, sha256, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
try:
    download([url], Path(target), Promise(sha256=sha256))
except HarnessError as error:
    sys.exit(f"{error}")
"""


def start(url: str, target: Path, limit: int = 0) -> subprocess.Popen[str]:
    """Download in another process, which may write files of `limit` bytes only."""
    words = [sys.executable, "-c", SCRIPT, url, str(target), SHA256, str(limit)]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True)


def test_a_full_disk_is_one_message_and_the_rest_comes_when_there_is_room(
    site: Site, tmp_path: Path
):
    url = site.put("a.zip", CONTENT)
    process = start(url, tmp_path / "a.zip", limit=HALF)

    _, said = process.communicate(timeout=30)

    assert process.returncode == 1
    assert said.startswith(f"cannot write {tmp_path}/a.zip: File too large (make room")
    assert download([url], tmp_path / "a.zip", SIGNED).read_bytes() == CONTENT
    assert ranges(site) == [None, f"bytes={HALF}-"]


def test_a_disk_without_room_for_the_file_is_known_before_it_comes(site: Site, tmp_path: Path):
    part_of(tmp_path / "a.zip").write_bytes(CONTENT[:100])
    huge = Fault(claims=2**60)

    with pytest.raises(HarnessError, match=r"cannot write .*a.zip: 1073741824.0 GiB needed"):
        download([site.put("a.zip", CONTENT, huge)], tmp_path / "a.zip")

    assert names_in(tmp_path) == []


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_a_download_that_was_ended_goes_on_later(site: Site, tmp_path: Path, sign: signal.Signals):
    url = site.put("a.zip", CONTENT, Fault(stall_after=HALF, times=1))
    process = start(url, tmp_path / "a.zip")
    wait_for(lambda: part_of(tmp_path / "a.zip").stat().st_size == HALF, process)

    process.send_signal(sign)
    process.communicate(timeout=30)

    assert names_in(tmp_path) == [".a.zip.part"]
    assert download([url], tmp_path / "a.zip", SIGNED).read_bytes() == CONTENT
    assert ranges(site) == [None, f"bytes={HALF}-"]


def test_a_second_process_waits_and_takes_what_the_first_one_brought(site: Site, tmp_path: Path):
    url = site.put("a.zip", CONTENT, Fault(stall_after=HALF, times=1))
    first = start(url, tmp_path / "a.zip")
    wait_for(lambda: part_of(tmp_path / "a.zip").stat().st_size == HALF, first)
    second = start(url, tmp_path / "a.zip")
    assert second.stderr is not None
    waiting = second.stderr.readline()

    site.released.set()
    said = [process.communicate(timeout=30)[1] for process in (first, second)]

    assert waiting == f"another process is at {tmp_path}; waiting for it\n"
    assert said == ["", ""]
    assert names_in(tmp_path) == ["a.zip"]
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert len(site.asked) == 1


def test_many_threads_bring_one_file(site: Site, tmp_path: Path):
    url = site.put("a.zip", CONTENT)
    threads = [
        threading.Thread(target=download, args=([url], tmp_path / "a.zip", SIGNED))
        for _ in range(8)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert names_in(tmp_path) == ["a.zip"]
    assert len(site.asked) == 1


def wait_for(condition, process: subprocess.Popen[str]) -> None:
    """Wait until a condition holds in a process that goes on."""
    for _ in range(1000):
        try:
            if condition():
                return
        except FileNotFoundError:
            pass
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("it never came to that")
