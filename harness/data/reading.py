"""One batch of images from one request, in this process or in a worker.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from harness.data.images import PreparedImages, about_image
from harness.data.transforms import planes_of
from harness.errors import HarnessError
from harness.seeding import derive_seed

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """One batch.

    Attributes:
        images: (B, C, H, W) float32, as the backbone expects them; on the device of the run.
        labels: (B,) int64; in [0, C) for training, the data set's class ids for evaluation.
        sample_index: (B,) int64; rows of the training part, or sample ids for evaluation.
    """

    images: Tensor
    labels: Tensor
    sample_index: Tensor


@dataclass(frozen=True, slots=True)
class ByteBatch:
    """One batch before its last step, on the CPU; a quarter of the bytes of an `ImageBatch`.

    Attributes:
        pixels: (B, C, H, W) uint8; C is 1 where all images are grey.
        labels, sample_index: As in `ImageBatch`.
    """

    pixels: Tensor
    labels: Tensor
    sample_index: Tensor

    def pin_memory(self) -> ByteBatch:
        """Return the batch in page-locked memory; torch's DataLoader calls this by its name."""
        return ByteBatch(
            self.pixels.pin_memory(), self.labels.pin_memory(), self.sample_index.pin_memory()
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


class BatchReader(Dataset["ByteBatch | HarnessError"]):
    """Turns requests into batches, in this process or in a worker."""

    def __init__(self, images: PreparedImages, *, seed: int) -> None:
        """Read from `images`; random streams derive from `seed`."""
        self._images = images
        self._seed = seed

    def __getitem__(self, request: Request) -> ByteBatch | HarnessError:
        """Return the batch, or the error, which torch would wrap into a worker's traceback."""
        try:
            return self.batch(request)
        except HarnessError as error:
            return error

    def batch(self, request: Request) -> ByteBatch:
        """Return the batch of a request.

        Raises:
            HarnessError: An image is unreadable or does not fit the pipeline.
        """
        sample_ids = self._images.table.sample_id[request.rows].tolist()
        planes = [
            self._planes(row, request.epoch, sample_id, uses)
            for row, sample_id, uses in zip(
                request.rows.tolist(), sample_ids, request.uses, strict=True
            )
        ]
        return ByteBatch(
            self._images.pipeline.stack(planes),
            torch.from_numpy(request.labels),
            torch.from_numpy(request.sample_index),
        )

    def finished(self, batch: ByteBatch, device: str) -> ImageBatch:
        """Return the batch with its images on a device, as the backbone expects them."""
        pixels = batch.pixels.to(device, non_blocking=True)
        images = self._images.pipeline.normalization.images(pixels)
        return ImageBatch(images, batch.labels, batch.sample_index)

    def _planes(self, row: int, epoch: int, sample_id: int, uses: int) -> NDArray[np.uint8]:
        prepared = self._images[row]
        pipeline = self._images.pipeline
        if not pipeline.suffix:
            return planes_of(prepared)
        # A row that a sampler repeats must not come as the same crop twice.
        repeat = (uses,) if uses else ()
        rng = Random(derive_seed(self._seed, "augment", epoch, sample_id, *repeat))  # noqa: S311
        try:
            return pipeline.finish(prepared, rng)
        except HarnessError as error:
            raise about_image(error, self._images.table, row) from error
