"""Rows of a split -> batches of images, the same for any number of worker processes.

What a batch holds is a function of (seed, epoch, rows): each image draws from a stream of its own,
named after the epoch, its sample id and how often the epoch has used it before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from harness.contracts import Sampler, SampleTable, Split
from harness.data.cache import MEMORY, CachePlace
from harness.data.caches import open_cache
from harness.data.images import PreparedImages
from harness.data.packing import PackedStrings
from harness.data.reading import BatchReader, ImageBatch, Request, Rows
from harness.data.splits import TrainLabels, training_labels
from harness.data.transforms import Pipeline
from harness.data.workers import WorkerPool
from harness.errors import HarnessError
from harness.protocol import Transforms, TransformStep
from harness.specs import Preprocessing


@dataclass(frozen=True, slots=True, eq=False)
class Loaders:
    """Batches of one split; made by `make_loaders`."""

    table: SampleTable
    split: Split
    training: TrainLabels
    sampler: Sampler
    eval_batch_size: int
    device: str
    train_reader: BatchReader
    eval_reader: BatchReader
    train_pool: WorkerPool | None
    eval_pool: WorkerPool | None

    def train(self, epoch: int) -> Iterator[ImageBatch]:
        """Yield the batches of one training epoch, counted from zero.

        Raises:
            HarnessError: An image is unreadable, or the sampler leaves the training part.
        """
        return self._read(self.train_reader, self.train_pool, self._train_requests(epoch))

    def evaluate(self, rows: Rows) -> Iterator[ImageBatch]:
        """Yield all rows of the table that are asked for, in that order; the last batch is short.

        Raises:
            HarnessError: An image is unreadable.
        """
        return self._read(self.eval_reader, self.eval_pool, self._eval_requests(rows))

    def _read(
        self, reader: BatchReader, pool: WorkerPool | None, requests: Iterable[Request]
    ) -> Iterator[ImageBatch]:
        batches = map(reader.batch, requests) if pool is None else pool.batches(requests)
        for batch in batches:
            yield reader.finished(batch, self.device)

    def _train_requests(self, epoch: int) -> Iterator[Request]:
        used: dict[int, int] = {}
        for batch in self.sampler.batches(epoch):
            positions = np.asarray(batch, dtype=np.int64)
            self._check(positions)
            uses: list[int] = []
            for position in positions.tolist():
                uses.append(used.get(position, 0))
                used[position] = uses[-1] + 1
            rows = self.split.train[positions]
            yield Request(rows, self.training.labels[positions], positions, epoch, uses)

    def _eval_requests(self, rows: Rows) -> Iterator[Request]:
        for start in range(0, len(rows), self.eval_batch_size):
            part = np.asarray(rows[start : start + self.eval_batch_size], dtype=np.int64)
            uses = [0] * len(part)
            yield Request(part, self.table.label[part], self.table.sample_id[part], 0, uses)

    def _check(self, positions: Rows) -> None:
        """Refuse rows outside the training part; NumPy would take negative ones in silence."""
        num_rows = len(self.split.train)
        if not len(positions):
            raise HarnessError(f"sampler {type(self.sampler).__name__} gave an empty batch")
        if positions.min() < 0 or positions.max() >= num_rows:
            worst = positions.min() if positions.min() < 0 else positions.max()
            raise HarnessError(
                f"sampler {type(self.sampler).__name__} gave row {worst} of {num_rows} rows"
            )


def make_loaders(  # noqa: PLR0913 - one call per run, all by name
    table: SampleTable,
    split: Split,
    transforms: Transforms,
    preprocessing: Preprocessing,
    *,
    sampler: Sampler,
    seed: int,
    eval_batch_size: int,
    workers: int = 0,
    scale_on_device: bool = False,
    device: str = "cpu",
    cache: CachePlace | None = MEMORY,
) -> Loaders:
    """Return the loaders of one run.

    Args:
        table: Where images come from.
        split: Which rows train.
        transforms: Of the protocol.
        preprocessing: Of the backbone's card.
        sampler: Gives rows of the training part.
        seed: Root of the augmentation's random streams.
        eval_batch_size: Images of an evaluation batch.
        workers: Processes that read images; 0 reads in this one. Never changes a batch.
        scale_on_device: Scale and mirror the random crops of training there, a batch at a time, if
            that is what the pipeline ends with. Never changes a batch.
        device: Where the images of a batch will be.
        cache: Where prepared images are kept for all workers together; None keeps none. Never
            changes a batch.
    """
    pin = device.startswith("cuda") and torch.cuda.is_available()
    if table.paths is not None:
        table = replace(table, paths=PackedStrings.of(table.paths))

    def reader(steps: Sequence[TransformStep]) -> BatchReader:
        pipeline = Pipeline.of(steps, preprocessing)
        images = PreparedImages(table, pipeline, cache=open_cache(table, pipeline, cache))
        return BatchReader(images, seed=seed, scale_on_device=scale_on_device)

    def pool(of: BatchReader) -> WorkerPool | None:
        return WorkerPool(of, workers=workers, pin=pin) if workers else None

    train_reader, eval_reader = reader(transforms.train), reader(transforms.eval)
    return Loaders(
        table=table,
        split=split,
        training=training_labels(table, split),
        sampler=sampler,
        eval_batch_size=eval_batch_size,
        device=device,
        train_reader=train_reader,
        eval_reader=eval_reader,
        train_pool=pool(train_reader),
        eval_pool=pool(eval_reader),
    )
