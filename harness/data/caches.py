"""Which caches there are: their names, what is known about them, and their end."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from PIL import features

from harness.contracts import SampleTable
from harness.data.cache import INDEX, MEMORY, PIXELS, RECORD, CachePlace, PixelCache
from harness.data.transforms import Pipeline
from harness.errors import HarnessError

logger = logging.getLogger(__name__)

ABOUT = "about.json"
FORMAT = 2
DECODERS = ("jpg", "jpg_2000", "zlib", "webp")


@dataclass(frozen=True, slots=True)
class CacheStatus:
    """What one cache holds.

    Attributes:
        name: Of its folder.
        dataset: Name of the data set.
        steps: The prefix it keeps the results of.
        kept: Images it has.
        rows: Images of the data set.
        bytes: Of the pixels.
        stale: Whether nothing here reads it any more: another Pillow or decoder prepared it.
    """

    name: str
    dataset: str
    steps: str
    kept: int
    rows: int
    bytes: int
    stale: bool


def open_cache(
    table: SampleTable, pipeline: Pipeline, place: CachePlace | None
) -> PixelCache | None:
    """Return the cache of a table's images behind the prefix of a pipeline.

    Images that are in memory anyway are kept in temporary files, as are all when the folder cannot
    be written; without a place there is no cache.
    """
    if place is None:
        return None
    if place.folder is None or table.images is not None:
        return PixelCache(MEMORY if place.folder else place, "", len(table))
    name = cache_name(table, pipeline)
    try:
        _describe(place.folder / name, table, pipeline)
        return PixelCache(place, name, len(table))
    except OSError as error:
        logger.warning("no cache in %s: %s", place.folder, error)
        return PixelCache(MEMORY, "", len(table))


def cache_name(table: SampleTable, pipeline: Pipeline) -> str:
    """Return the name of a cache: a hash of all that its pixels depend on but the files."""
    gray = pipeline.preprocessing.channels == "gray"
    content = {
        "steps": [repr(step) for step in pipeline.prefix],
        "channels": "gray" if gray else "color",
        "table": _digest(table),
        **_makers(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]


def _makers() -> dict[str, object]:
    """Return the versions of all that may change a pixel on its way into a cache."""
    decoders = {name: features.version(name) for name in DECODERS}
    return {"format": FORMAT, "pillow": PIL.__version__, "decoders": decoders}


def _digest(table: SampleTable) -> str:
    """Return a hash of which file each row is; contents are watched file by file."""
    digest = hashlib.sha256(f"{table.name}\0{(table.root or Path()).resolve()}\0".encode())
    digest.update(np.ascontiguousarray(table.sample_id).tobytes())
    digest.update("\0".join(table.paths or ()).encode(errors="surrogateescape"))
    return digest.hexdigest()


def _describe(folder: Path, table: SampleTable, pipeline: Pipeline) -> None:
    """Write what `status` shows, whole or not at all."""
    steps = ["decode", *map(repr, pipeline.prefix)]
    about = {"dataset": table.name, "rows": len(table), "steps": ", ".join(steps)}
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{ABOUT}.{os.getpid()}.tmp"
    temporary.write_text(json.dumps({**about, "makers": _makers()}), encoding="utf-8")
    temporary.replace(folder / ABOUT)


def cache_statuses(folder: Path) -> list[CacheStatus]:
    """Return what each cache in a folder holds, by data set and name."""
    found = [_status(file.parent) for file in folder.glob(f"*/{ABOUT}")]
    return sorted(
        (status for status in found if status), key=lambda one: (one.dataset, one.steps, one.name)
    )


def _status(folder: Path) -> CacheStatus | None:
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        records = np.fromfile(folder / INDEX, RECORD)
        size = (folder / PIXELS).stat().st_size
        return CacheStatus(
            name=folder.name,
            dataset=str(about["dataset"]),
            steps=str(about["steps"]),
            kept=int(np.count_nonzero(records["channels"])),
            rows=int(about["rows"]),
            bytes=size,
            stale=about.get("makers") != _makers(),
        )
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ):  # cleared at this moment, or no cache
        return None


def clear_caches(
    folder: Path, *, dataset: str | None = None, only_stale: bool = False
) -> list[CacheStatus]:
    """Delete the caches of a data set, or all, and return what they held.

    Args:
        folder: Of all caches.
        dataset: Whose; None means all.
        only_stale: Leave those that are still read.

    A run that uses one goes on: its files vanish when the last process closes them.

    Raises:
        HarnessError: A file cannot be deleted.
    """
    gone = [
        one
        for one in cache_statuses(folder)
        if dataset in {None, one.dataset} and (one.stale or not only_stale)
    ]
    for one in gone:
        try:
            shutil.rmtree(folder / one.name)
        except FileNotFoundError:  # by somebody else at this moment
            continue
        except OSError as error:
            reason = error.strerror or error
            raise HarnessError(f"cannot delete cache {folder / one.name}: {reason}") from error
    return gone
