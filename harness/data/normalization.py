"""From the bytes of a batch to what a backbone expects, wherever the bytes are.

Bytes are a quarter of the floats they become, so they are what workers hand over and what goes to
a GPU; the last step is done where the network is.

Shapes: B batch, C channels, K 1 where all images are grey, else C; H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray
from torch import Tensor

from harness.specs import Preprocessing

FULL_RANGE = 255  # of a byte


class Normalization(NamedTuple):
    """From bytes to what the backbone expects.

    Divides before it subtracts, so that bits agree with torchvision's ToTensor and Normalize.

    Attributes:
        num_channels: C.
        divisor: Of the bytes; None leaves them in 0 to 255.
        mean: (C, 1, 1) to subtract, or None.
        std: (C, 1, 1) to divide by, or None.
        reverse: Whether colour planes are wanted in reverse, as BGR.
    """

    num_channels: int
    divisor: np.float32 | None
    mean: NDArray[np.float32] | None
    std: NDArray[np.float32] | None
    reverse: bool

    @classmethod
    def of(cls, preprocessing: Preprocessing) -> Normalization:
        """Take from a backbone's card; what would change nothing is left out."""
        scale, mean, std = preprocessing.value_range, preprocessing.mean, preprocessing.std
        return cls(
            num_channels=1 if preprocessing.channels == "gray" else 3,
            divisor=None if scale == FULL_RANGE else np.float32(FULL_RANGE / scale),
            mean=_column(mean) if any(mean) else None,
            std=_column(std) if any(value != 1 for value in std) else None,
            reverse=preprocessing.channels == "bgr",
        )

    def images(self, pixels: UInt8[Tensor, "b k h w"]) -> Float32[Tensor, "b c h w"]:
        """Return the images of a batch of bytes, on the device of the bytes."""
        if pixels.device.type != "cpu":
            return self.looked_up(pixels)
        shape = (len(pixels), self.num_channels, *pixels.shape[2:])
        images = torch.empty(shape, dtype=torch.float32)
        for planes, image in zip(pixels.numpy(), images.numpy(), strict=True):
            self._write(planes, image)
        return images

    def looked_up(self, pixels: UInt8[Tensor, "b k h w"]) -> Float32[Tensor, "b c h w"]:
        """Return what `images` does, by a table of all bytes, which no device rounds otherwise."""
        every_byte = np.arange(FULL_RANGE + 1, dtype=np.uint8).reshape(1, 1, -1)
        table = np.empty((self.num_channels, 1, FULL_RANGE + 1), np.float32)
        self._write(every_byte, table)
        values = torch.from_numpy(table).to(pixels.device)[:, 0]
        channel = torch.arange(self.num_channels, device=pixels.device)[:, None, None]
        planes = pixels.flip(1) if self.reverse else pixels
        return values[channel, planes.int()]

    def _write(self, planes: NDArray[np.uint8], image: NDArray[np.float32]) -> None:
        """Write bytes (C, H, W), or (1, H, W) if they are grey, into `image` (C, H, W).

        One image at a time stays in the processor's cache; a batch would not.
        """
        np.copyto(image, planes[::-1] if self.reverse else planes)
        if self.divisor is not None:
            np.divide(image, self.divisor, out=image)
        if self.mean is not None:
            np.subtract(image, self.mean, out=image)
        if self.std is not None:
            np.divide(image, self.std, out=image)


def _column(values: Sequence[float]) -> NDArray[np.float32]:
    return np.array(values, np.float32).reshape(-1, 1, 1)
