"""Filling caches before anything is trained: what there is to do, its size, and doing it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from harness.contracts import SampleTable, Split
from harness.data.cache import CachePlace
from harness.data.caches import cache_name, open_cache
from harness.data.images import PreparedImages
from harness.data.packing import PackedStrings
from harness.data.reading import Rows
from harness.data.transforms import Pipeline
from harness.protocol import Transforms
from harness.specs import Preprocessing

PROBED = 24  # images whose size stands for all
CHUNK = 32


@dataclass(frozen=True, slots=True, eq=False)
class CacheJob:
    """Rows of one cache that are not kept yet.

    Attributes:
        images: What prepares and keeps.
        steps: The prefix, for people.
        rows: To prepare.
        kept: How many of the rows wanted are kept already.
        bytes: Estimate for `rows`, from a few of them.
    """

    images: PreparedImages
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
        HarnessError: An image is unreadable.
    """
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


def _job(table: SampleTable, pipeline: Pipeline, wanted: Rows, place: CachePlace) -> CacheJob:
    cache = open_cache(table, pipeline, place)
    images = PreparedImages(table, pipeline, cache=cache)
    rows = np.array([row for row in wanted.tolist() if not (cache and cache.has(row))], np.int64)
    probed = rows[:: max(1, len(rows) // PROBED)]
    sizes = [images.prepare(row).nbytes for row in probed.tolist()]
    return CacheJob(
        images=images,
        steps=", ".join(["decode", *map(repr, pipeline.prefix)]),
        rows=rows,
        kept=len(wanted) - len(rows),
        bytes=int(np.mean(sizes) * len(rows)) if sizes else 0,
    )


def fill(job: CacheJob, *, workers: int) -> Iterator[int]:
    """Prepare what is missing, in processes of its own; yields how many rows are done.

    What is finished stays when it is interrupted, and the next call goes on from there.

    Raises:
        HarnessError: An image is unreadable.
    """
    chunks = [job.rows[start : start + CHUNK] for start in range(0, len(job.rows), CHUNK)]
    done = 0
    with ProcessPoolExecutor(max(1, workers), initializer=_take, initargs=(job.images,)) as pool:
        try:
            for count in pool.map(_fill_rows, chunks):
                done += count
                yield done
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_images: list[PreparedImages] = []  # of a worker process, which has one job in its life


def _take(images: PreparedImages) -> None:
    _images[:] = [images]


def _fill_rows(rows: Rows) -> int:
    (images,) = _images
    for row in rows.tolist():
        images[row]  # keeps what it prepares
    return len(rows)
