"""Prepared pixels kept in files: append-only, mapped into memory, shared by all processes.

One folder per (data set, prefix of a pipeline) holds `pixels`, images one after the other, and
`index`, a fixed-size record per row of the table. Pixels are written first and their record after
them, both under a lock, so a process killed at any moment leaves at worst bytes nobody points to.
A record counts once its checksum agrees with the pixels and its stamp with the source file; each
run finds out at the first use of a row. Mapped pages are the operating system's: any number of
workers and runs hold a data set in memory once.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import shutil
import tempfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

PIXELS, INDEX = "pixels", "index"
RECORD = np.dtype(
    [
        ("offset", "<i8"),
        ("height", "<i4"),
        ("width", "<i4"),
        ("channels", "<i4"),  # 0 where nothing is kept
        ("crc", "<u4"),
        ("source_bytes", "<i8"),
        ("source_time", "<i8"),
    ]
)
RESERVE = 2**30
"""Bytes of the disk that are left free."""
LOOK_AGAIN = 64 * 2**20
"""Bytes appended between two looks at what others have written."""


@dataclass(frozen=True, slots=True)
class CachePlace:
    """Where prepared pixels are kept.

    Attributes:
        folder: Of all caches; None keeps them in temporary files, gone with the run.
        cap: Bytes that everything in the folder may take together.
    """

    folder: Path | None
    cap: int


MEMORY = CachePlace(None, 256 * 2**20)


class Stamp(NamedTuple):
    """Size in bytes and time of change in nanoseconds of a source file; zeros without one.

    The time is that of the contents or of the entry, whichever is later: a file that was put in
    place of another with its old time, as `cp -p` does, is another file.
    """

    source_bytes: int
    source_time: int

    @classmethod
    def of(cls, path: Path | None) -> Stamp | None:
        """Return the stamp of a file as it is now; None when it cannot be seen."""
        if path is None:
            return cls(0, 0)
        try:
            stat = path.stat()
        except OSError:
            return None
        return cls(stat.st_size, max(stat.st_mtime_ns, stat.st_ctime_ns))


class PixelCache:
    """Images by row: uint8 arrays (H, W) or (H, W, 3), written once and read many times.

    Objects of several processes may share one folder, and a forked process may use its parent's.
    """

    def __init__(self, place: CachePlace, name: str, num_rows: int) -> None:
        """Open or create the cache called `name`; `place.cap` is looked at when writing.

        Raises:
            OSError: The folder cannot be written.
        """
        self._place, self._name, self._num_rows = place, name, num_rows
        self._pixels, self._index = _open_files(place, name, num_rows * RECORD.itemsize)
        bytes_of_index = num_rows * RECORD.itemsize
        shared = mmap.mmap(self._index, bytes_of_index, prot=mmap.PROT_READ)
        self._records: NDArray[Any] = np.frombuffer(shared, RECORD)
        self._trusted = mmap.mmap(-1, num_rows)  # shared with the workers that fork from here
        self._map: mmap.mmap | None = None
        self._limit = -1
        self._next_look = -1

    def __reduce__(self) -> tuple[type[PixelCache], tuple[CachePlace, str, int]]:
        """Open the folder again in a process that is no fork."""
        return PixelCache, (self._place, self._name, self._num_rows)

    def __del__(self) -> None:
        """Close the files; their pages stay mapped as long as an array needs them."""
        for file in (getattr(self, "_pixels", None), getattr(self, "_index", None)):
            if file is not None:
                os.close(file)

    def trusted(self, row: int) -> NDArray[np.uint8] | None:
        """Return the kept pixels of a row that this run has asked for before; else None."""
        return self._mapped(self._records[row]) if self._trusted[row] else None

    def get(self, row: int, source: Path | None) -> NDArray[np.uint8] | None:
        """Return the kept pixels of a row, read-only; None when there are none to be trusted.

        Args:
            row: Of the table.
            source: The file they were made of.
        """
        pixels = self._checked(row, Stamp.of(source))
        self._trusted[row] = pixels is not None
        return pixels

    def put(self, row: int, pixels: NDArray[np.uint8], stamp: Stamp | None) -> bool:
        """Keep the pixels of a row if there is room; False says there was none.

        Args:
            row: Of the table.
            pixels: C-contiguous.
            stamp: Of the source file from before it was read; None keeps nothing.
        """
        if stamp is None or self._limit == 0:
            return False
        shape = (*pixels.shape, 1)[:3]
        checksum = _checksum(row, pixels)
        try:
            with _locked(self._index):
                if self._checked(row, stamp) is not None:  # another process was faster
                    return True
                end = os.fstat(self._pixels).st_size
                if not self._has_room(end, pixels.nbytes):
                    return False
                record = np.array((end, *shape, checksum, *stamp), RECORD)
                _write(self._pixels, pixels.reshape(-1).data, end)
                _write(self._index, record.tobytes(), row * RECORD.itemsize)
        except OSError as error:
            self._stop(f"cannot be written: {error}")
            return False
        self._trusted[row] = 1
        return True

    def has(self, row: int) -> bool:
        """Return whether there is a record of a row, trusted or not."""
        return bool(self._records["channels"][row])

    def _checked(self, row: int, stamp: Stamp | None) -> NDArray[np.uint8] | None:
        """Return pixels that are whole and made of the file with this stamp, or None."""
        record = self._records[row].copy()
        if (int(record["source_bytes"]), int(record["source_time"])) != stamp:
            return None
        pixels = self._mapped(record)
        whole = pixels is not None and int(record["crc"]) == _checksum(row, pixels)
        return pixels if whole else None

    def _mapped(self, record: np.void) -> NDArray[np.uint8] | None:
        """Return the pixels a record points to; None when it points nowhere."""
        shape = (int(record["height"]), int(record["width"]), int(record["channels"]))
        start, count = int(record["offset"]), shape[0] * shape[1] * shape[2]
        if start < 0 or min(shape) < 1:
            return None
        if self._map is None or start + count > len(self._map):
            size = os.fstat(self._pixels).st_size
            if start + count > size:
                return None
            self._map = mmap.mmap(self._pixels, size, prot=mmap.PROT_READ)
        pixels = np.frombuffer(self._map, np.uint8, count, start)
        return pixels.reshape(shape if shape[2] > 1 else shape[:2])

    def _has_room(self, end: int, num_bytes: int) -> bool:
        if end >= self._next_look:
            self._next_look = end + LOOK_AGAIN
            self._limit = self._find_limit(end)
        if end + num_bytes <= self._limit:
            return True
        self._stop("is full; the other images are prepared each time they are used")
        return False

    def _find_limit(self, end: int) -> int:
        """Return how long the file of pixels may become."""
        folder = self._place.folder
        others = used_bytes(folder) - end if folder else 0
        free = shutil.disk_usage(folder or tempfile.gettempdir()).free
        return max(1, min(self._place.cap - others, end + free - RESERVE))

    def _stop(self, reason: str) -> None:
        self._limit = 0
        if self._place.folder:
            place = self._place.folder / self._name
            logger.warning("cache %s %s; see: harness data cache status", place, reason)


def used_bytes(folder: Path) -> int:
    """Return the bytes of all pixels kept under a folder."""
    return sum(_size(file) for file in folder.glob(f"*/{PIXELS}"))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # cleared at this moment
        return 0


def _open_files(place: CachePlace, name: str, bytes_of_index: int) -> tuple[int, int]:
    """Return the files of pixels and index, the latter at its full length."""
    if place.folder is None:
        with tempfile.TemporaryFile() as pixels, tempfile.TemporaryFile() as index:
            opened = os.dup(pixels.fileno()), os.dup(index.fileno())
    else:
        folder = place.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        opened = (
            os.open(folder / PIXELS, flags, 0o666),
            os.open(folder / INDEX, flags, 0o666),
        )
    os.ftruncate(opened[1], bytes_of_index)  # a file that has this length stays as it is
    return opened


@contextmanager
def _locked(file: int) -> Generator[None]:
    """Keep other processes out; a forked one is another, which `flock` would let in."""
    fcntl.lockf(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.lockf(file, fcntl.LOCK_UN)


def _write(file: int, content: bytes | memoryview, offset: int) -> None:
    """Write everything; through the file, since a full disk would kill a process that maps."""
    done = 0
    while done < len(content):
        done += os.pwrite(file, content[done:], offset + done)


def _checksum(row: int, pixels: NDArray[np.uint8]) -> int:
    place = np.array([row, *pixels.shape], np.int64)
    return zlib.crc32(pixels.reshape(-1).data, zlib.crc32(place.tobytes()))
