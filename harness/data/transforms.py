"""Image pipelines: the steps of a protocol, then what the backbone expects of a pixel.

Steps that do not draw make the *prefix* of a pipeline, which gives the same pixels in every epoch
and may be kept; the rest is the *suffix*.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from harness.data.steps import Step, make_step
from harness.errors import HarnessError
from harness.protocol import TransformStep
from harness.specs import Preprocessing


def to_eight_bits(image: Image.Image, channels: str) -> Image.Image:
    """Return an `L` or `RGB` image of any PIL image; alpha is dropped, as the papers' code does.

    A grey image stays `L` even where colour is wanted, since three equal channels give the same
    pixels at three times the work; `Pipeline.tensors` makes them three.

    Raises:
        HarnessError: PIL knows no way from this mode.
    """
    if image.mode.startswith("I"):  # 16 bits a pixel; PIL's own conversion would clip at 255
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    mode = "L" if image.mode in {"1", "L", "LA", "F"} or channels == "gray" else "RGB"
    try:
        return image if image.mode == mode else image.convert(mode)
    except ValueError:
        raise HarnessError(f"pixels of mode {image.mode} cannot become {mode}") from None


def pixels_of(image: Image.Image) -> NDArray[np.uint8]:
    """Return (H, W) of an `L` image and (H, W, 3) of an `RGB` one; read-only.

    The same as `np.asarray(image)` at a third of its cost, which shows on small images.
    """
    shape = (image.height, image.width, *((3,) if image.mode == "RGB" else ()))
    return np.frombuffer(image.tobytes(), np.uint8).reshape(shape)


@dataclass(frozen=True)
class Pipeline:
    """The steps of one protocol's train or eval transforms, and what the backbone expects."""

    steps: tuple[Step, ...]
    preprocessing: Preprocessing

    @classmethod
    def of(cls, steps: Sequence[TransformStep], preprocessing: Preprocessing) -> Pipeline:
        """Build from a protocol's steps.

        Raises:
            HarnessError: Mean and standard deviation do not fit the channels.
        """
        num_channels = 1 if preprocessing.channels == "gray" else 3
        for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
            if len(values) not in {1, num_channels}:
                raise HarnessError(
                    f"the backbone's card has {len(values)} values of {name} for "
                    f"{preprocessing.channels} images"
                )
        return cls(tuple(make_step(step) for step in steps), preprocessing)

    @cached_property
    def prefix(self) -> tuple[Step, ...]:
        """Leading steps that draw nothing."""
        return tuple(takewhile(lambda step: not step.draws, self.steps))

    @cached_property
    def suffix(self) -> tuple[Step, ...]:
        """Steps from the first that draws."""
        return self.steps[len(self.prefix) :]

    def prepare(self, image: Image.Image) -> Image.Image:
        """Apply the conversion to eight bits and the prefix: the same in every epoch."""
        image = to_eight_bits(image, self.preprocessing.channels)
        for step in self.prefix:
            image = step.apply(image, None)
        return image

    def finish(self, image: Image.Image, rng: Random) -> NDArray[np.uint8]:
        """Apply the suffix to a prepared image; (H, W) for a grey image, else (H, W, 3)."""
        for step in self.suffix:
            image = step.apply(image, step.draw(rng, image.size))
        return pixels_of(image)

    def tensors(self, pixels: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Return a batch (B, C, H, W) float32 as the backbone expects it.

        Raises:
            HarnessError: The images have different sizes.
        """
        sizes = {array.shape[:2] for array in pixels}
        if len(sizes) > 1:
            listed = ", ".join(f"{width}x{height}" for height, width in sorted(sizes)[:3])
            raise HarnessError(
                f"images of one batch have different sizes: {listed}",
                hint="end transforms with center_crop, random_crop or random_resized_crop",
            )
        if len({array.ndim for array in pixels}) > 1:
            pixels = [_three_channels(array) for array in pixels]
        return _normalized(torch.from_numpy(np.stack(pixels)), self.preprocessing)

    def __call__(self, image: Image.Image, rng: Random) -> Tensor:
        """Return one image (C, H, W) float32."""
        return self.tensors([self.finish(self.prepare(image), rng)])[0]


def _three_channels(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if array.ndim == 3:  # noqa: PLR2004 - height, width, channels
        return array
    return np.broadcast_to(array[:, :, None], (*array.shape, 3))


def _normalized(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return (B, C, H, W) floats of uint8 pixels (B, H, W) or (B, H, W, 3).

    Divides before it subtracts, so that bits agree with torchvision's ToTensor and Normalize.
    """
    planes = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)  # noqa: PLR2004
    num_channels = 1 if preprocessing.channels == "gray" else 3
    if preprocessing.channels == "bgr" and planes.shape[1] > 1:
        planes = planes.flip(1)
    shape = (len(planes), num_channels, *planes.shape[2:])
    images = torch.empty(shape, dtype=torch.float32).copy_(planes)
    if preprocessing.value_range != 255:  # noqa: PLR2004 - uint8 is in that range already
        images.div_(255 / preprocessing.value_range)
    if any(preprocessing.mean):
        images.sub_(torch.tensor(preprocessing.mean).view(-1, 1, 1))
    if any(value != 1 for value in preprocessing.std):
        images.div_(torch.tensor(preprocessing.std).view(-1, 1, 1))
    return images
