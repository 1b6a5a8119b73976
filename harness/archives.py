"""Archives from strangers, unpacked so that nothing lands outside one folder.

A member whose name leads out of the folder, a link, a device, a name that occurs twice, too many
members or too many bytes: each ends the unpacking, and nothing of it stays.
"""

from __future__ import annotations

import errno
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, Self

from harness.errors import HarnessError

ReportProgress = Callable[[int, int], None]
"""Called with the bytes of the archive that are read, and how many it has."""

PIECE = 1 << 20  # bytes
LONGEST_NAME = 1 << 20  # bytes
DAMAGE = (
    *(
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        gzip.BadGzipFile,
    ),
    *(NotImplementedError, RuntimeError),  # zip: an unknown compression, a password
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an archive may hold; the largest benchmark has 120,053 files and 3 GB.

    Attributes:
        members: Files and folders.
        size: Bytes, unpacked.
    """

    members: int = 500_000
    size: int = 100 * 2**30


class _Member(NamedTuple):
    """A file of an archive, or a folder if it has no content."""

    name: str
    size: int  # as announced
    content: IO[bytes] | None


def unpack(
    archive: Path,
    name: str,
    *,
    limits: Limits | None = None,
    progress: ReportProgress | None = None,
) -> Path:
    """Unpack a folder of an archive beside it, whole or not at all, and return it.

    Args:
        archive: A tar file, compressed or not, or a zip file.
        name: The folder; whatever else the archive holds stays there.
        limits: How much it may hold.
        progress: Told about the bytes read.

    Raises:
        HarnessError: The archive is damaged, dangerous, or holds no such folder; the target
            exists, or cannot be written.
    """
    target = archive.parent / name
    work = archive.parent / f".{archive.name}.unpacking"
    if target.exists():
        raise HarnessError(f"{target} exists already", hint="move it away")
    try:
        shutil.rmtree(work, ignore_errors=True)  # of an earlier process that was killed
        work.mkdir()
        _write_members(archive, work, name, limits or Limits(), progress)
        if not (work / name).is_dir():
            raise HarnessError(f"{archive} holds no folder {name}", hint="is it another file?")
        (work / name).rename(target)
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        remedy = "make room" if full else f"see whether {archive.parent} can be written"
        raise HarnessError(
            f"cannot unpack {archive}: {error.strerror or error}",
            hint=f"{remedy}, then type the same again",
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _write_members(
    archive: Path, work: Path, name: str, limits: Limits, progress: ReportProgress | None
) -> None:
    """Write the members below one folder, after checking the name of every member."""
    room = limits.size
    with archive.open("rb") as raw:
        length = archive.stat().st_size
        for number, member in enumerate(_members(archive, raw), start=1):
            if number > limits.members:
                raise _dangerous(archive, f"more than {limits.members:,} members")
            path = _safe(archive, member.name)
            if path.parts[:1] == (name,):
                room -= _write(archive, work / path, member.content, room)
            else:
                room -= member.size  # it is decompressed to get past it
                if room < 0:
                    raise _too_large(archive)
            if progress is not None:
                progress(min(raw.tell(), length), length)


def _members(archive: Path, raw: IO[bytes]) -> Iterator[_Member]:
    """Yield the files and folders of an archive of either sort.

    Raises:
        HarnessError: It is damaged, or holds something else.
    """
    sort = _zip_members if zipfile.is_zipfile(raw) else _tar_members
    raw.seek(0)
    try:
        yield from sort(archive, raw)
    except _LongNameError as error:
        raise _dangerous(archive, f"a name in it has {error} bytes") from None
    except DAMAGE as error:
        raise _damaged(archive, error) from error


class _Header(tarfile.TarInfo):
    """A header of a tar file; those that only carry a name are read into memory as a whole."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read a header.

        Raises:
            _LongNameError: It announces a name that is none.
        """
        header = super().frombuf(buf, encoding, errors)
        if header.size > LONGEST_NAME and not header.isreg():
            raise _LongNameError(header.size)
        return header


class _LongNameError(Exception):
    """A header announces more bytes of name than any name has."""


def _tar_members(archive: Path, raw: IO[bytes]) -> Iterator[_Member]:
    with tarfile.open(fileobj=raw, tarinfo=_Header) as tar:
        for member in tar:
            if not (member.isreg() or member.isdir()):
                raise _dangerous(archive, f"{member.name!r} is a link or a device")
            content = tar.extractfile(member) if member.isreg() else None
            yield _Member(member.name, member.size, content)


def _zip_members(archive: Path, raw: IO[bytes]) -> Iterator[_Member]:
    with closing(zipfile.ZipFile(raw)) as file:
        for member in file.infolist():
            sort = stat.S_IFMT(member.external_attr >> 16)
            if sort not in {0, stat.S_IFREG, stat.S_IFDIR}:
                raise _dangerous(archive, f"{member.filename!r} is a link or a device")
            if member.is_dir():
                yield _Member(member.filename, 0, None)
            else:
                with file.open(member) as content:
                    yield _Member(member.filename, member.file_size, content)


def _safe(archive: Path, name: str) -> PurePosixPath:
    """Return a member's path, which stays inside any folder it is joined to."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise _dangerous(archive, f"{name!r} leads out of the folder")
    return path


def _write(archive: Path, path: Path, content: IO[bytes] | None, room: int) -> int:
    """Write a file or make a folder; return the bytes it took."""
    folder = path if content is None else path.parent
    folder.mkdir(parents=True, exist_ok=True)
    if content is None:
        return 0
    written = 0
    try:
        with path.open("xb") as file:
            while data := _read(archive, content):
                written += len(data)
                if written > room:
                    raise _too_large(archive)
                file.write(data)
    except FileExistsError:
        raise _dangerous(archive, f"{path.name!r} is in it twice") from None
    return written


def _read(archive: Path, content: IO[bytes]) -> bytes:
    try:
        return content.read(PIECE)
    except (*DAMAGE, OSError) as error:  # gzip's complaints are OSErrors
        raise _damaged(archive, error) from error


def _damaged(archive: Path, error: Exception) -> HarnessError:
    reason, *_ = str(error).splitlines() or [""]  # tarfile adds a line for each sort it has tried
    return HarnessError(
        f"{archive} is damaged, or no tar or zip file: {reason.rstrip(':')}",
        hint="delete it, then type the same again",
    )


def _too_large(archive: Path) -> HarnessError:
    return _dangerous(archive, "unpacked it is larger than allowed")


def _dangerous(archive: Path, why: str) -> HarnessError:
    return HarnessError(
        f"{archive} is not unpacked: {why}", hint="it is not the published archive; delete it"
    )
