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
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from harness.data.batch_memory import empty_batch
from harness.data.normalization import Normalization
from harness.data.resampling import fast_scale
from harness.data.scaled_crop import ScaledCrop, inside
from harness.data.steps import Box, RandomCrop, RandomResizedCrop, Step, make_step
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


def image_of(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return the image of (H, W) or (H, W, 3) pixels, which may be a part of others."""
    mode = "L" if pixels.ndim == 2 else "RGB"  # noqa: PLR2004 - height and width
    height, width = pixels.shape[:2]
    return Image.frombytes(mode, (width, height), np.ascontiguousarray(pixels).data)


def planes_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (C, H, W) of (H, W) or (H, W, 3) pixels; a view."""
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)  # noqa: PLR2004


def planes_of_image(image: Image.Image) -> NDArray[np.uint8]:
    """Return (C, H, W) of an image, in memory one line of a channel after the other.

    As floats they are wanted by channel; long runs of one are five times faster to convert.
    """
    layout = "L" if image.mode == "L" else "RGB;L"
    lines = np.frombuffer(image.tobytes("raw", layout), np.uint8)
    return lines.reshape(image.height, len(image.getbands()), image.width).transpose(1, 0, 2)


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

    @cached_property
    def scaled_crop(self) -> ScaledCrop | None:
        """The suffix as one box to be scaled, or None when it is something else."""
        return ScaledCrop.of(self.suffix)

    @cached_property
    def normalization(self) -> Normalization:
        """What is done to the bytes at the end."""
        return Normalization.of(self.preprocessing)

    def prepare(self, image: Image.Image) -> Image.Image:
        """Apply the conversion to eight bits and the prefix: the same in every epoch."""
        image = to_eight_bits(image, self.preprocessing.channels)
        for step in self.prefix:
            image = step.apply(image, None)
        return image

    def finish(self, pixels: NDArray[np.uint8], rng: Random) -> NDArray[np.uint8]:
        """Apply the suffix to prepared pixels (H, W) or (H, W, 3); returns planes (C, H, W)."""
        if not self.suffix:
            return planes_of(pixels)
        scale = fast_scale() if self.scaled_crop else None
        if self.scaled_crop and scale:
            box, crop = self.scaled_crop.cut(pixels, rng), self.scaled_crop.crop
            return scale(box.pixels, crop.side, crop.interpolation, mirrored=box.mirrored)
        first, *others = self.suffix
        image = _begin(first, pixels, first.draw(rng, (pixels.shape[1], pixels.shape[0])))
        for step in others:
            image = step.apply(image, step.draw(rng, image.size))
        return planes_of_image(image)

    def stack(self, planes: Sequence[NDArray[np.uint8]]) -> UInt8[Tensor, "b c h w"]:
        """Return a batch of planes (C, H, W); C is 1 where all of them are grey.

        Raises:
            HarnessError: The images have different sizes.
        """
        sizes = {array.shape[1:] for array in planes}
        if len(sizes) > 1:
            listed = ", ".join(f"{width}x{height}" for height, width in sorted(sizes)[:3])
            raise HarnessError(
                f"images of one batch have different sizes: {listed}",
                hint="end transforms with center_crop, random_crop or random_resized_crop",
            )
        num_channels = max(array.shape[0] for array in planes)
        batch = empty_batch((len(planes), num_channels, *planes[0].shape[1:]))
        for array, image in zip(planes, batch.numpy(), strict=True):
            np.copyto(image, array)
        return batch

    def tensors(self, planes: Sequence[NDArray[np.uint8]]) -> Float32[Tensor, "b c h w"]:
        """Return a batch as the backbone expects it, of planes (C, H, W).

        Raises:
            HarnessError: The images have different sizes.
        """
        return self.normalization.images(self.stack(planes))

    def __call__(self, image: Image.Image, rng: Random) -> Tensor:
        """Return one image (C, H, W) float32."""
        return self.tensors([self.finish(pixels_of(self.prepare(image)), rng)])[0]


def _begin(step: Step, pixels: NDArray[np.uint8], params: Any) -> Image.Image:  # noqa: ANN401
    """Apply the first step of a suffix; one that cuts takes its box and leaves the rest alone."""
    if (
        isinstance(step, RandomCrop | RandomResizedCrop)
        and (part := inside(pixels, params)) is not None
    ):
        return step.apply(image_of(part), Box(0, 0, params.width, params.height))
    return step.apply(image_of(pixels), params)
