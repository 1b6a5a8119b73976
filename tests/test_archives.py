from __future__ import annotations

import gzip
import io
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.archives import Limits, unpack
from harness.errors import HarnessError

FILES = {
    "birds/images/a/1.jpg": b"first",
    "birds/images/b/2.jpg": b"second" * 100_000,
    "birds/classes.txt": b"",
    "attributes.txt": b"not wanted",
}


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_uncompressed_tar(path: Path, files: dict[str, bytes]) -> Path:
    return write_tar(path, files, "w")


Write = Callable[[Path, dict[str, bytes]], Path]
SORTS = pytest.mark.parametrize("write", [write_zip, write_tar, write_uncompressed_tar])


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@SORTS
def test_a_folder_is_unpacked_beside_its_archive(tmp_path: Path, write: Write):
    archive = write(tmp_path / "birds.archive", FILES)

    folder = unpack(archive, "birds")

    assert folder == tmp_path / "birds"
    wanted = {name: content for name, content in FILES.items() if name.startswith("birds/")}
    assert contents(tmp_path) == {**wanted, archive.name: archive.read_bytes()}


@SORTS
def test_progress_rises_to_the_size_of_the_archive(tmp_path: Path, write: Write):
    archive = write(tmp_path / "birds.archive", FILES)
    told: list[tuple[int, int]] = []

    unpack(archive, "birds", progress=lambda *one: told.append(one))

    assert len(told) == len(FILES)
    assert all(0 < done <= total == archive.stat().st_size for done, total in told)


def test_folders_and_leading_dots_are_understood(tmp_path: Path):
    archive = tmp_path / "birds.tar"
    with tarfile.open(archive, "w") as tar:
        folder = tarfile.TarInfo("./birds/empty")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        tar.addfile(tarfile.TarInfo("./birds/a.txt"))

    unpack(archive, "birds")

    assert sorted(path.name for path in (tmp_path / "birds").iterdir()) == ["a.txt", "empty"]


# --- attacks ------------------------------------------------------------------------------------


@SORTS
@pytest.mark.parametrize(
    "name",
    ["../evil.txt", "/evil.txt", "birds/../../evil.txt", "birds/..", "..\\evil.txt", "other/../a"],
)
def test_a_name_that_leads_out_ends_the_unpacking(tmp_path: Path, write: Write, name: str):
    folder = tmp_path / "data"
    folder.mkdir()
    archive = write(folder / "birds.archive", {**FILES, name: b"evil"})

    with pytest.raises(HarnessError, match=r"leads out of the folder") as caught:
        unpack(archive, "birds")

    assert "not the published archive" in str(caught.value.hint)
    assert [path.name for path in tmp_path.rglob("*")] == ["data", archive.name]
    assert not Path("/evil.txt").exists()


@pytest.mark.parametrize(
    ("sort", "target"),
    [
        pytest.param(tarfile.SYMTYPE, "../../outside", id="symbolic-link-out"),
        pytest.param(tarfile.SYMTYPE, "images", id="symbolic-link"),
        pytest.param(tarfile.LNKTYPE, "/etc/passwd", id="hard-link"),
        pytest.param(tarfile.CHRTYPE, "", id="device"),
        pytest.param(tarfile.FIFOTYPE, "", id="pipe"),
    ],
)
def test_a_link_or_a_device_in_a_tar_file_ends_the_unpacking(
    tmp_path: Path, sort: bytes, target: str
):
    archive = tmp_path / "birds.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        link = tarfile.TarInfo("birds/images")
        link.type, link.linkname = sort, target
        tar.addfile(link)
        inside = tarfile.TarInfo("birds/images/evil.txt")
        tar.addfile(inside, io.BytesIO())

    with pytest.raises(HarnessError, match=r"'birds/images' is a link or a device"):
        unpack(archive, "birds")

    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


@pytest.mark.parametrize("sort", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_name_without_end_is_not_read_into_memory(tmp_path: Path, sort: bytes):
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = sort, 2**33
    archive = tmp_path / "birds.tgz"
    archive.write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_240)))

    with pytest.raises(HarnessError, match="a name in it has 8589934592 bytes"):
        unpack(archive, "birds")

    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_a_long_name_is_a_name(tmp_path: Path):
    name = "/".join(["birds", *["n" * 100] * 4, "1.jpg"])

    folder = unpack(write_tar(tmp_path / "birds.tgz", {name: b"first"}), "birds")

    assert contents(folder) == {name.removeprefix("birds/"): b"first"}


def test_a_link_in_a_zip_file_ends_the_unpacking(tmp_path: Path):
    archive = tmp_path / "birds.zip"
    link = zipfile.ZipInfo("birds/images")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(link, "/etc")

    with pytest.raises(HarnessError, match=r"'birds/images' is a link or a device"):
        unpack(archive, "birds")

    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


@pytest.mark.parametrize("second", ["birds/a.txt", "./birds/a.txt", "birds//a.txt"])
def test_a_file_that_is_there_twice_ends_the_unpacking(tmp_path: Path, second: str):
    archive = tmp_path / "birds.tar"
    with tarfile.open(archive, "w") as tar:
        for name in ("birds/a.txt", second):
            tar.addfile(tarfile.TarInfo(name))

    with pytest.raises(HarnessError, match=r"'a.txt' is in it twice"):
        unpack(archive, "birds")


@SORTS
def test_too_many_members_end_the_unpacking(tmp_path: Path, write: Write):
    archive = write(tmp_path / "birds.archive", {f"birds/{n}": b"" for n in range(101)})

    with pytest.raises(HarnessError, match="more than 100 members"):
        unpack(archive, "birds", limits=Limits(members=100))

    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


@pytest.mark.parametrize("name", ["birds/zeros", "beside"])
@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_a_bomb_ends_when_it_has_grown_too_large(tmp_path: Path, write: Write, name: str):
    archive = write(tmp_path / "birds.archive", {name: bytes(50_000_000)})
    assert archive.stat().st_size < 100_000

    with pytest.raises(HarnessError, match="unpacked it is larger than allowed"):
        unpack(archive, "birds", limits=Limits(size=10_000_000))

    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


# --- damage -------------------------------------------------------------------------------------


@SORTS
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_cut_archive_is_named_and_leaves_nothing(tmp_path: Path, write: Write, share: float):
    archive = write(tmp_path / "birds.archive", FILES)
    content = archive.read_bytes()
    archive.write_bytes(content[: int(share * len(content))])

    with pytest.raises(HarnessError, match=r"birds.archive is damaged") as caught:
        unpack(archive, "birds")

    assert caught.value.hint == "delete it, then type the same again"
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_a_flipped_bit_in_a_zip_file_is_noticed(tmp_path: Path):
    archive = tmp_path / "birds.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("birds/a.txt", b"content" * 10)
    archive.write_bytes(archive.read_bytes().replace(b"contentc", b"Contentc", 1))

    with pytest.raises(HarnessError, match=r"birds.zip is damaged.*CRC"):
        unpack(archive, "birds")


def test_a_file_that_is_no_archive_is_named(tmp_path: Path):
    (tmp_path / "birds.tgz").write_bytes(b"<html>not found</html>" * 100)

    with pytest.raises(HarnessError, match="damaged, or no tar or zip file") as caught:
        unpack(tmp_path / "birds.tgz", "birds")

    assert "\n" not in caught.value.message


def test_an_archive_of_something_else_is_named(tmp_path: Path):
    archive = write_zip(tmp_path / "birds.zip", {"cars/a.jpg": b""})

    with pytest.raises(HarnessError, match="holds no folder birds"):
        unpack(archive, "birds")


def test_a_folder_that_is_there_is_not_touched(tmp_path: Path):
    archive = write_zip(tmp_path / "birds.zip", FILES)
    (tmp_path / "birds").mkdir()

    with pytest.raises(HarnessError, match="birds exists already"):
        unpack(archive, "birds")

    assert list((tmp_path / "birds").iterdir()) == []


def test_a_full_disk_is_one_message_and_leaves_nothing(tmp_path: Path):
    archive = write_zip(tmp_path / "birds.zip", FILES)
    script = (
        "import resource, sys; from pathlib import Path; from harness.archives import unpack\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "try: unpack(Path(sys.argv[1]), 'birds')\n"
        "except Exception as error: sys.exit(f'{type(error).__name__}: {error}')"
    )

    ended = subprocess.run(
        [sys.executable, "-c", script, archive], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"HarnessError: cannot unpack {archive}: File too large")
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_only_a_full_disk_asks_for_room(tmp_path: Path):
    archive = write_tar(tmp_path / "birds.tgz", {f"birds/{'n' * 300}": b""})

    with pytest.raises(HarnessError, match="File name too long") as caught:
        unpack(archive, "birds")

    assert caught.value.hint == f"see whether {tmp_path} can be written, then type the same again"


def test_what_a_killed_process_left_is_cleared(tmp_path: Path):
    archive = write_zip(tmp_path / "birds.zip", FILES)
    left = tmp_path / ".birds.zip.unpacking" / "birds"
    left.mkdir(parents=True)
    (left / "half.jpg").touch()

    folder = unpack(archive, "birds")

    assert "half.jpg" not in contents(folder)
    assert not left.exists()
