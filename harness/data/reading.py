"""One batch of images from one request, in this process or in a worker.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from harness.data.batch_scaling import Cuts, scale_boxes
from harness.data.images import PreparedImages, about_image
from harness.data.scaled_crop import Cut, scales_in_batches, stack_cuts
from harness.errors import HarnessError
from harness.seeding import derive_seed

Rows = NDArray[np.int64]
NOTHING_DRAWN = Random(0)  # noqa: S311
Drawn = TypeVar("Drawn", NDArray[np.uint8], Cut)


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
    """One batch before its last steps, on the CPU; a quarter of the bytes of an `ImageBatch`.

    Attributes:
        pixels: (B, C, H, W) uint8, C 1 where all images are grey; or boxes still to be scaled.
        labels, sample_index: As in `ImageBatch`.
    """

    pixels: Tensor | Cuts
    labels: Tensor
    sample_index: Tensor

    def pin_memory(self) -> ByteBatch:
        """Return the batch in page-locked memory; torch's DataLoader calls this by its name."""
        pixels = self.pixels
        pinned = (
            pixels._replace(
                pixels=pixels.pixels.pin_memory(), mirrored=pixels.mirrored.pin_memory()
            )
            if isinstance(pixels, Cuts)
            else pixels.pin_memory()
        )
        return ByteBatch(pinned, self.labels.pin_memory(), self.sample_index.pin_memory())


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

    def __init__(
        self, images: PreparedImages, *, seed: int, scale_on_device: bool = False
    ) -> None:
        """Read from `images`; random streams derive from `seed`.

        Args:
            images: By row of the table.
            seed: Root of the streams.
            scale_on_device: Leave the scaling of random boxes to `finished`, if that is what the
                pipeline ends with; not a bit changes.
        """
        self._images = images
        self._seed = seed
        later = scale_on_device and scales_in_batches()
        self._scaled_later = images.pipeline.scaled_crop if later else None

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
        images = zip(request.rows.tolist(), sample_ids, request.uses, strict=True)
        if self._scaled_later:
            cut = self._scaled_later.cut
            pixels = stack_cuts([self._drawn(cut, request.epoch, *image) for image in images])
        else:
            finish = self._images.pipeline.finish
            planes = [self._drawn(finish, request.epoch, *image) for image in images]
            pixels = self._images.pipeline.stack(planes)
        return ByteBatch(
            pixels, torch.from_numpy(request.labels), torch.from_numpy(request.sample_index)
        )

    def finished(self, batch: ByteBatch, device: str) -> ImageBatch:
        """Return the batch with its images on a device, as the backbone expects them."""
        pixels = self._scaled(batch.pixels, device)
        images = self._images.pipeline.normalization.images(pixels)
        return ImageBatch(images, batch.labels, batch.sample_index)

    def _scaled(self, pixels: Tensor | Cuts, device: str) -> Tensor:
        """Return planes on a device, of planes or of boxes that are still to be scaled."""
        if isinstance(pixels, Tensor):
            return pixels.to(device, non_blocking=True)
        assert self._scaled_later
        crop = self._scaled_later.crop
        there = pixels._replace(pixels=pixels.pixels.to(device, non_blocking=True))
        return scale_boxes(there, crop.side, crop.interpolation)

    def _drawn(
        self,
        step: Callable[[NDArray[np.uint8], Random], Drawn],
        epoch: int,
        row: int,
        sample_id: int,
        uses: int,
    ) -> Drawn:
        """Return what a step makes of a row with the random stream of this use of it."""
        prepared = self._images[row]
        if not self._images.pipeline.suffix:
            return step(prepared, NOTHING_DRAWN)
        # A row that a sampler repeats must not come as the same crop twice.
        repeat = (uses,) if uses else ()
        rng = Random(derive_seed(self._seed, "augment", epoch, sample_id, *repeat))  # noqa: S311
        try:
            return step(prepared, rng)
        except HarnessError as error:
            raise about_image(error, self._images.table, row) from error
