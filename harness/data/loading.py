"""Rows of a split -> batches of images, the same for any number of worker processes.

What a batch holds is a function of (seed, epoch, rows): each image draws from a stream of its own,
named after the epoch, its sample id and how often the epoch has used it before.

Shapes: B batch, C channels, H height, W width, n rows of a part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from harness.contracts import Sampler, SampleTable, Split
from harness.data.images import PreparedImages, about_image
from harness.data.splits import TrainLabels, training_labels
from harness.data.transforms import Pipeline, pixels_of
from harness.errors import HarnessError
from harness.protocol import Transforms, TransformStep
from harness.seeding import derive_seed
from harness.specs import Preprocessing

Rows = NDArray[np.int64]

MEMORY_BYTES = 256 * 2**20
"""Most that the kept images of one pipeline (train, eval) take, all its workers together."""


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """One batch, on the CPU.

    Attributes:
        images: (B, C, H, W) float32, as the backbone expects them.
        labels: (B,) int64; in [0, C) for training, the data set's class ids for evaluation.
        sample_index: (B,) int64; rows of the training part, or sample ids for evaluation.
    """

    images: Tensor
    labels: Tensor
    sample_index: Tensor

    def pin_memory(self) -> ImageBatch:
        """Return the batch in page-locked memory; torch's DataLoader calls this by its name."""
        return ImageBatch(
            self.images.pin_memory(), self.labels.pin_memory(), self.sample_index.pin_memory()
        )


class Request(NamedTuple):
    """What one batch is made of; small, because it travels to worker processes.

    Attributes:
        rows: (B,) rows of the table.
        labels: (B,) what the batch has as labels.
        sample_index: (B,) what the batch has as `sample_index`.
        epoch: Names the random streams.
        uses: How often the epoch has used each row before.
    """

    rows: Rows
    labels: Rows
    sample_index: Rows
    epoch: int
    uses: Sequence[int]


class BatchReader(Dataset["ImageBatch | HarnessError"]):
    """Turns requests into batches, in this process or in a worker."""

    def __init__(self, images: PreparedImages, *, seed: int) -> None:
        """Read from `images`; random streams derive from `seed`."""
        self._images = images
        self._seed = seed

    def __getitem__(self, request: Request) -> ImageBatch | HarnessError:
        """Return the batch, or the error, which torch would wrap into a worker's traceback."""
        try:
            return self.batch(request)
        except HarnessError as error:
            return error

    def batch(self, request: Request) -> ImageBatch:
        """Return the batch of a request.

        Raises:
            HarnessError: An image is unreadable or does not fit the pipeline.
        """
        sample_ids = self._images.table.sample_id[request.rows].tolist()
        pixels = [
            self._pixels(row, request.epoch, sample_id, uses)
            for row, sample_id, uses in zip(
                request.rows.tolist(), sample_ids, request.uses, strict=True
            )
        ]
        return ImageBatch(
            self._images.pipeline.tensors(pixels),
            torch.from_numpy(request.labels),
            torch.from_numpy(request.sample_index),
        )

    def _pixels(self, row: int, epoch: int, sample_id: int, uses: int) -> NDArray[np.uint8]:
        image = self._images[row]
        pipeline = self._images.pipeline
        if not pipeline.suffix:
            return pixels_of(image)
        # A row that a sampler repeats must not come as the same crop twice.
        repeat = (uses,) if uses else ()
        rng = Random(derive_seed(self._seed, "augment", epoch, sample_id, *repeat))  # noqa: S311
        try:
            return pipeline.finish(image, rng)
        except HarnessError as error:
            raise about_image(error, self._images.table, row) from error


class RequestStream:
    """What torch's loader takes for a sampler: the requests that are wanted at the moment.

    An object of its own, because a cycle pool -> loader -> pool would be left to the garbage
    collector, which stops worker processes in an order that makes it wait for them.
    """

    def __init__(self) -> None:
        """Want nothing yet."""
        self.requests: Iterable[Request] = ()

    def __iter__(self) -> Iterator[Request]:
        """Start the current requests."""
        return iter(self.requests)


class WorkerPool:
    """Worker processes that read one stream of requests after the other, in order."""

    def __init__(self, reader: BatchReader, *, workers: int, pin: bool, keep: bool) -> None:
        """Start nothing yet; `keep` lets the workers wait for the next stream."""
        self._reader = reader
        self._workers = workers
        self._pin = pin
        self._keep = keep
        self._stream = RequestStream()
        self._loader = self._new_loader()

    def _new_loader(self) -> DataLoader[ImageBatch | HarnessError]:
        return DataLoader(
            self._reader,
            batch_size=None,  # a request is a batch already
            sampler=self._stream,
            num_workers=self._workers,
            persistent_workers=self._keep,
            collate_fn=_unchanged,
            pin_memory=self._pin,
            # The loader draws a seed for its workers, which must not come from the global stream.
            generator=torch.Generator().manual_seed(0),
        )

    def batches(self, requests: Iterable[Request]) -> Iterator[ImageBatch]:
        """Yield the batch of each request; a stream ends the one before it.

        Raises:
            HarnessError: As `BatchReader.batch`, or a worker died.
        """
        self._stream.requests = requests
        try:
            yield from self._read(requests)
        except HarnessError:
            self._loader = self._new_loader()  # lets the workers go, even if the error is kept
            raise
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            self._loader = self._new_loader()
            message = f"an image loading worker died: {str(error).splitlines()[0]}"
            raise HarnessError(message, hint="use fewer workers; --workers 0 uses none") from error

    def _read(self, requests: Iterable[Request]) -> Iterator[ImageBatch]:
        for batch in self._loader:
            assert self._stream.requests is requests, "two epochs are read at the same time"
            if isinstance(batch, HarnessError):
                # A copy: an error that a local of its own frame holds is a cycle too.
                raise HarnessError(batch.message, hint=batch.hint)
            yield batch


def _unchanged(batch: object) -> object:
    return batch


@dataclass(frozen=True, slots=True, eq=False)
class Loaders:
    """Batches of one split; made by `make_loaders`."""

    table: SampleTable
    split: Split
    training: TrainLabels
    sampler: Sampler
    eval_batch_size: int
    workers: int
    pin: bool
    train_reader: BatchReader
    eval_reader: BatchReader
    train_pool: WorkerPool | None

    def train(self, epoch: int) -> Iterator[ImageBatch]:
        """Yield the batches of one training epoch, counted from zero.

        Raises:
            HarnessError: An image is unreadable, or the sampler leaves the training part.
        """
        requests = self._train_requests(epoch)
        if self.train_pool is None:
            yield from self._here(self.train_reader, requests)
        else:
            yield from self.train_pool.batches(requests)

    def evaluate(self, rows: Rows) -> Iterator[ImageBatch]:
        """Yield all rows of the table that are asked for, in that order; the last batch is short.

        Raises:
            HarnessError: An image is unreadable.
        """
        requests = self._eval_requests(rows)
        if self.workers == 0:
            yield from self._here(self.eval_reader, requests)
        else:
            pool = WorkerPool(self.eval_reader, workers=self.workers, pin=self.pin, keep=False)
            yield from pool.batches(requests)

    def _here(self, reader: BatchReader, requests: Iterable[Request]) -> Iterator[ImageBatch]:
        for request in requests:
            batch = reader.batch(request)
            yield batch.pin_memory() if self.pin else batch

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
    device: str = "cpu",
    memory: int = MEMORY_BYTES,
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
        device: Where batches will go; for `cuda` they come in page-locked memory.
        memory: Bytes of prepared images to keep for each of training and evaluation, shared out
            among the workers. Never changes a batch.
    """
    pin = device.startswith("cuda") and torch.cuda.is_available()
    share = memory // max(1, workers)

    def reader(steps: Sequence[TransformStep]) -> BatchReader:
        pipeline = Pipeline.of(steps, preprocessing)
        return BatchReader(PreparedImages(table, pipeline, memory=share), seed=seed)

    train_reader = reader(transforms.train)
    pool = WorkerPool(train_reader, workers=workers, pin=pin, keep=True) if workers else None
    return Loaders(
        table=table,
        split=split,
        training=training_labels(table, split),
        sampler=sampler,
        eval_batch_size=eval_batch_size,
        workers=workers,
        pin=pin,
        train_reader=train_reader,
        eval_reader=reader(transforms.eval),
        train_pool=pool,
    )
