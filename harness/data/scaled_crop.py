"""The end of every published training pipeline: a random box, scaled to a square, mirrored or not.

As one thing it can be done in one pass over the box, in a worker or for a whole batch on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from harness.data.batch_memory import empty_batch
from harness.data.batch_scaling import Cuts, scale_boxes
from harness.data.resampling import equals_pillow
from harness.data.steps import Box, HorizontalFlip, RandomResizedCrop, Step


class Cut(NamedTuple):
    """A box of prepared pixels that is still to be scaled.

    Attributes:
        pixels: (H, W) or (H, W, 3), a view.
        mirrored: Whether left and right are to be exchanged.
    """

    pixels: NDArray[np.uint8]
    mirrored: bool


@dataclass(frozen=True, slots=True)
class ScaledCrop:
    """`random_resized_crop`, followed by nothing but `horizontal_flip`."""

    crop: RandomResizedCrop
    flips: tuple[HorizontalFlip, ...]

    @classmethod
    def of(cls, suffix: Sequence[Step]) -> ScaledCrop | None:
        """Return some steps as a scaled crop; None when they are something else."""
        if not suffix or not isinstance(suffix[0], RandomResizedCrop):
            return None
        flips = tuple(step for step in suffix[1:] if isinstance(step, HorizontalFlip))
        return cls(suffix[0], flips) if len(flips) == len(suffix) - 1 else None

    def cut(self, pixels: NDArray[np.uint8], rng: Random) -> Cut:
        """Draw as the steps would, one after the other, and cut."""
        box = self.crop.draw(rng, (pixels.shape[1], pixels.shape[0]))
        size = (self.crop.side, self.crop.side)
        times = sum(flip.draw(rng, size) for flip in self.flips)
        part = inside(pixels, box)
        assert part is not None, (pixels.shape, box)
        return Cut(part, mirrored=times % 2 == 1)


def inside(pixels: NDArray[np.uint8], box: Box) -> NDArray[np.uint8] | None:
    """Return the pixels of a box, a view; None when it reaches over the border."""
    left, top, width, height = box
    if left < 0 or top < 0 or left + width > pixels.shape[1] or top + height > pixels.shape[0]:
        return None
    return pixels[top : top + height, left : left + width]


def stack_cuts(cuts: Sequence[Cut]) -> Cuts:
    """Return the boxes of a batch in one piece, grey ones in colour if any has colour."""
    boxes = torch.tensor([cut.pixels.shape[:2] for cut in cuts])
    num_channels = 3 if any(cut.pixels.ndim == 3 for cut in cuts) else 1  # noqa: PLR2004
    pixels = empty_batch((len(cuts), *boxes.amax(0).tolist(), num_channels))
    for cut, place in zip(cuts, pixels.numpy(), strict=True):
        height, width = cut.pixels.shape[:2]
        grey = cut.pixels.ndim == 2  # noqa: PLR2004
        np.copyto(place[:height, :width], cut.pixels[:, :, None] if grey else cut.pixels)
    return Cuts(pixels, boxes, torch.tensor([cut.mirrored for cut in cuts]))


@cache
def scales_in_batches() -> bool:
    """Return whether `scale_boxes` gives the bytes of this Pillow."""

    def scale(
        pixels: NDArray[np.uint8], side: int, interpolation: str, *, mirrored: bool
    ) -> NDArray[np.uint8]:
        return scale_boxes(stack_cuts([Cut(pixels, mirrored)]), side, interpolation)[0].numpy()

    return equals_pillow(scale)
