"""What the files of a data set hold: a SHA-256 of each, and one of them all.

Two copies of a data set are the same when every image has the same id, class, part and bytes.
Reading gigabytes before each run would be slow, so the digests are remembered in a table beside
the images (`.harness-manifest.tsv`), or in the cache folder where that may not be written. A
remembered digest counts as long as size, modification time and change time of its file are the
same; `harness data verify` reads everything again.

Shapes: N rows of a table.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from harness.contracts import SampleTable
from harness.download import file_digest
from harness.errors import HarnessError

logger = logging.getLogger(__name__)

NAME = ".harness-manifest.tsv"
HEADER = "# sha256\tsize\tmtime_ns\tctime_ns\tclass\tpath\n"
CHUNK = 32  # files for one thread at a time
DIGEST_BYTES = 32

ReportProgress = Callable[[int, int], None]
"""Called with the number of images done, and of all."""

Item = TypeVar("Item")
Found = TypeVar("Found")


class Stamp(NamedTuple):
    """What changes when a file does."""

    size: int
    mtime_ns: int
    ctime_ns: int


class Known(NamedTuple):
    """A digest that was computed when the file had this stamp."""

    stamp: Stamp
    sha256: str


def with_content(
    table: SampleTable, *, trust: bool = True, progress: ReportProgress | None = None
) -> SampleTable:
    """Return the table with the SHA-256 of each file; one that holds its pixels stays as it is.

    Args:
        table: What to read.
        trust: Whether a remembered digest counts when its file looks unchanged.
        progress: Told how many images are done.

    Raises:
        HarnessError: A file is missing or cannot be read.
    """
    if table.paths is None or (table.content is not None and trust):
        return table
    root = table.root or Path()
    remembered = _remembered(root)
    known = remembered if trust else {}
    digests = list(in_threads(lambda path: _digest(root, path, known), table.paths, progress))
    fresh = dict(zip(table.paths, digests, strict=True))
    if any(remembered.get(path) != one for path, one in fresh.items()):
        labels = dict(zip(table.paths, table.label.tolist(), strict=True))
        _remember(root, {**remembered, **fresh}, labels)
    joined = bytes.fromhex("".join(one.sha256 for one in digests))
    content = np.frombuffer(joined, dtype=np.uint8).reshape(-1, DIGEST_BYTES)
    return replace(table, content=content)


def manifest_digest(table: SampleTable) -> str:
    """Return a SHA-256 of what the data set is: ids, labels, parts, and bytes or pixels.

    Neither the order of the rows nor names of files and folders change it: the layouts that a
    data set is published in give one digest if ids and images are the same.
    """
    table = with_content(table)
    digest = hashlib.sha256()
    for row in np.argsort(table.sample_id):
        part = "" if table.part is None else str(table.part[row])
        # NUL ends each field, so no two tables give one text
        fields = (str(table.sample_id[row]), str(table.label[row]), part, _content(table, row))
        digest.update("\0".join((*fields, "")).encode())
    return digest.hexdigest()


def in_threads(
    work: Callable[[Item], Found], items: Sequence[Item], progress: ReportProgress | None = None
) -> Iterator[Found]:
    """Yield what `work` makes of each item, in order; hashing and decoding leave the GIL.

    An error ends it, and so does Ctrl-C, without waiting for what nobody has begun.
    """
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    done = 0
    pool = ThreadPoolExecutor(max_workers=os.cpu_count())
    try:
        for found in pool.map(lambda chunk: [work(item) for item in chunk], chunks):
            yield from found
            done += len(found)
            if progress is not None:
                progress(done, len(items))
    finally:
        pool.shutdown(cancel_futures=True)


def _content(table: SampleTable, row: int) -> str:
    """Return the digest of an image's file, or of its pixels with their shape."""
    if table.content is not None:
        return table.content[row].tobytes().hex()
    assert table.images is not None, table.name
    pixels = np.ascontiguousarray(table.images[row])
    return f"{pixels.shape} {hashlib.sha256(pixels.tobytes()).hexdigest()}"


def _digest(root: Path, path: str, known: Mapping[str, Known]) -> Known:
    """Return the digest of a file: the known one, if the file looks as it did then."""
    file = os.path.join(root, path)  # noqa: PTH118 - three times as fast, for 120,000 files
    try:
        stat = os.stat(file)  # noqa: PTH116
        stamp = Stamp(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        if path in known and known[path].stamp == stamp:
            return known[path]
        return Known(stamp, file_digest(Path(file)))
    except OSError as error:
        raise HarnessError(f"image {file} cannot be read: {error.strerror}") from error


# --- remembering --------------------------------------------------------------------------------


def _places(root: Path) -> tuple[Path, Path]:
    """Return where digests may be remembered, the better place first."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return root / NAME, cache / "harness" / "manifests" / f"{name}.tsv"


def _remembered(root: Path) -> dict[str, Known]:
    """Return what is known by path; a table that cannot be read is forgotten, not an error."""
    for place in _places(root):
        try:
            with place.open(encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
                return dict(_parse(lines))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            logger.warning("%s is left aside: %s", place, error)
    return {}


def _parse(lines: Iterable[str]) -> Iterator[tuple[str, Known]]:
    for line in lines:
        if line != HEADER:
            sha256, size, mtime, ctime, _, path = line.removesuffix("\n").split("\t", 5)
            if len(bytes.fromhex(sha256)) != DIGEST_BYTES:
                raise ValueError(f"{sha256!r} is no SHA-256")
            yield path, Known(Stamp(int(size), int(mtime), int(ctime)), sha256)


def _remember(root: Path, known: Mapping[str, Known], labels: Mapping[str, int]) -> None:
    """Write what is known to the first place that takes it, whole or not at all."""
    for place in _places(root):
        temporary = place.with_name(f"{place.name}.{secrets.token_hex(4)}.tmp")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("x", encoding="utf-8", errors="surrogateescape") as file:
                file.write(HEADER)
                file.writelines(_line(path, known[path], labels) for path in sorted(known))
            temporary.replace(place)
        except OSError as error:
            logger.info("digests are not remembered in %s: %s", place, error)
            temporary.unlink(missing_ok=True)
        else:
            return


def _line(path: str, known: Known, labels: Mapping[str, int]) -> str:
    if "\n" in path:
        return ""  # read anew each time
    label = labels.get(path, "")
    return "\t".join([known.sha256, *map(str, known.stamp), str(label), path]) + "\n"
