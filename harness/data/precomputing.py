"""Filling caches before anything is trained: what there is to do, its size, and doing it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from harness.contracts import SampleTable, Split
from harness.data.cache import RESERVE, CachePlace, PixelCache, used_bytes
from harness.data.caches import cache_name, open_cache
from harness.data.images import PreparedImages
from harness.data.packing import PackedStrings
from harness.data.reading import Rows
from harness.data.transforms import Pipeline
from harness.errors import HarnessError
from harness.protocol import Transforms
from harness.specs import Preprocessing

PROBED = 24  # images whose size stands for all
CHUNK = 32


@dataclass(frozen=True, slots=True, eq=False)
class CacheJob:
    """Rows of one cache that are not kept yet.

    Attributes:
        images: What prepares and keeps.
        cache: Where.
        steps: The prefix, for people.
        rows: To prepare.
        kept: How many of the rows wanted are kept already.
        bytes: Estimate for `rows`, from a few of them.
    """

    images: PreparedImages
    cache: PixelCache
    steps: str
    rows: Rows
    kept: int
    bytes: int


def cache_jobs(
    table: SampleTable,
    splits: Sequence[Split],
    transforms: Transforms,
    preprocessing: Preprocessing,
    place: CachePlace,
) -> list[CacheJob]:
    """Return what is to be prepared for some splits; pipelines of equal prefix share a cache.

    Raises:
        HarnessError: An image is unreadable, or nothing can be kept in the place.
    """
    _check_writable(place)
    if table.paths is not None:
        table = replace(table, paths=PackedStrings.of(table.paths))
    train = [split.train for split in splits]
    tested = [rows for split in splits for rows in (split.val, split.query, split.gallery)]
    wanted: dict[str, tuple[Pipeline, list[Rows]]] = {}
    for steps, parts in ((transforms.train, train), (transforms.eval, tested)):
        pipeline = Pipeline.of(steps, preprocessing)
        wanted.setdefault(cache_name(table, pipeline), (pipeline, []))[1].extend(parts)
    return [
        _job(table, pipeline, np.unique(np.concatenate(rows)), place)
        for pipeline, rows in wanted.values()
    ]


def room_for(place: CachePlace) -> int:
    """Return how many bytes can be kept in a place besides those that are there."""
    if place.folder is None:
        return place.cap
    free = shutil.disk_usage(place.folder).free - RESERVE
    return max(0, min(place.cap - used_bytes(place.folder), free))


def _check_writable(place: CachePlace) -> None:
    """Refuse a folder that takes nothing: a run would go on without, but this is to fill it."""
    try:
        if place.folder is not None:
            place.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=place.folder):
                pass
    except OSError as error:
        raise HarnessError(
            f"nothing can be kept in {place.folder}: {error.strerror or error}",
            hint="name another folder with --cache",
        ) from error


def _job(table: SampleTable, pipeline: Pipeline, wanted: Rows, place: CachePlace) -> CacheJob:
    cache = open_cache(table, pipeline, place)
    assert cache is not None, place
    images = PreparedImages(table, pipeline, cache=cache)
    rows = np.array([row for row in wanted.tolist() if not cache.has(row)], np.int64)
    probed = rows[:: max(1, len(rows) // PROBED)]
    sizes = [images.prepare(row).nbytes for row in probed.tolist()]
    return CacheJob(
        images=images,
        cache=cache,
        steps=", ".join(["decode", *map(repr, pipeline.prefix)]),
        rows=rows,
        kept=len(wanted) - len(rows),
        bytes=int(np.mean(sizes) * len(rows)) if sizes else 0,
    )


def fill(job: CacheJob, *, workers: int) -> Iterator[int]:
    """Prepare what is missing, in processes of its own; yields how many rows are kept by then.

    What is finished stays when it is interrupted, and the next call goes on from there. It ends
    early when there is no room left.

    Raises:
        HarnessError: An image is unreadable.
    """
    chunks = [job.rows[start : start + CHUNK] for start in range(0, len(job.rows), CHUNK)]
    done = 0
    with ProcessPoolExecutor(max(1, workers), initializer=_take, initargs=(job,)) as pool:
        try:
            for chunk, count in zip(chunks, pool.map(_fill_rows, chunks), strict=True):
                done += count
                yield done
                if count < len(chunk):
                    return
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_jobs: list[CacheJob] = []  # of a worker process, which has one in its life


def _take(job: CacheJob) -> None:
    _jobs[:] = [job]


def _fill_rows(rows: Rows) -> int:
    """Prepare some rows, and return how many of them are kept."""
    (job,) = _jobs
    for number, row in enumerate(rows.tolist()):
        job.images[row]  # keeps what it prepares
        if not job.cache.has(row):
            return number
    return len(rows)
