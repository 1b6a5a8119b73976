"""Boxes of a whole batch, scaled to squares and mirrored, on the device of their pixels.

Bit-equal to Pillow and to `resampling`: weights are the same doubles, rounded to the same whole
numbers, and whole numbers have one sum. A GPU does in one go what keeps many workers busy.

Shapes: B batch, C channels, H height, W width, S side, T taps: inputs of one output.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int, Int32, Int64, UInt8
from torch import Tensor

from harness.data.resampling import height_first

BITS = 22  # of a weight behind the point
CHUNK = 32  # images at a time: sums are four times as large as bytes
LINES, COLUMNS = 2, 3  # dimensions of planes (B, C, H, W)


class Cuts(NamedTuple):
    """Boxes that are still to be scaled, one after the other in the corner of equal planes.

    Attributes:
        pixels: (B, H, W, C) uint8; what lies beside a box is never looked at.
        boxes: (B, 2) int64 on the CPU, height and width.
        mirrored: (B,) bool on the CPU.
    """

    pixels: UInt8[Tensor, "b h w c"]
    boxes: Int64[Tensor, "b 2"]
    mirrored: Bool[Tensor, " b"]


def scale_boxes(cuts: Cuts, side: int, interpolation: str) -> UInt8[Tensor, "b c s s"]:
    """Return planes on the device of the pixels.

    Args:
        cuts: What to scale.
        side: S.
        interpolation: `bilinear` or `bicubic`.
    """
    pixels = cuts.pixels.permute(0, 3, 1, 2)
    scaled = pixels.new_empty((*pixels.shape[:2], side, side))
    for part, order in _parts(cuts.boxes, side):
        boxes, rows = cuts.boxes[part], part.to(pixels.device)
        height, width = boxes.amax(0).tolist()
        planes = pixels[rows, :, :height, :width]
        for axis in order:
            planes = _scale_axis(planes, axis, boxes[:, axis - 2], side, interpolation)
        scaled[rows] = planes
    mirrored = cuts.mirrored.to(pixels.device, non_blocking=True)[:, None, None, None]
    return torch.where(mirrored, scaled.flip(COLUMNS), scaled)


def _parts(
    boxes: Int64[Tensor, "b 2"], side: int
) -> Iterator[tuple[Int64[Tensor, " p"], tuple[int, int]]]:
    """Yield rows of images whose axes are scaled in the same order, and that order."""
    tall = torch.tensor([height_first(width, height, side) for height, width in boxes.tolist()])
    for chosen, order in ((~tall, (COLUMNS, LINES)), (tall, (LINES, COLUMNS))):
        rows = chosen.nonzero()[:, 0]
        for start in range(0, len(rows), CHUNK):
            yield rows[start : start + CHUNK], order


def _scale_axis(
    planes: UInt8[Tensor, "b c h w"],
    axis: int,
    counts: Int64[Tensor, " b"],
    side: int,
    interpolation: str,
) -> UInt8[Tensor, "b c h2 w2"]:
    """Scale the first `counts` lines or columns of each image to `side`."""
    first, weights = _weights(counts, side, interpolation, planes.device)
    last = (counts - 1).to(planes.device)[:, None]
    shape = list(planes.shape)
    shape[axis] = side
    sums = torch.full(shape, 1 << (BITS - 1), dtype=torch.int32, device=planes.device)
    for tap in range(weights.shape[2]):
        place = _along(axis, torch.minimum(first + tap, last)).expand(shape)
        sums += planes.gather(axis, place) * _along(axis, weights[:, :, tap])
    return (sums >> BITS).clamp_(0, 255).to(torch.uint8)


def _along(axis: int, values: Int[Tensor, "b s"]) -> Int[Tensor, "b 1 _ _"]:
    """Return values per image and place so that they broadcast over planes."""
    return values[:, None, :, None] if axis == LINES else values[:, None, None, :]


def _weights(
    counts: Int64[Tensor, " b"], side: int, interpolation: str, device: torch.device
) -> tuple[Int64[Tensor, "b s"], Int32[Tensor, "b s t"]]:
    """Return the first input of each output, and the weights of it and those that follow."""
    support = 2.0 if interpolation == "bicubic" else 1.0
    taps = int(2 * support * max(1.0, counts.max().item() / side)) + 2
    count = counts.to(device, torch.float64)[:, None]
    scale = count / side
    widened = scale.clamp(min=1)  # shrinking averages over what is between
    center = (torch.arange(side, device=device, dtype=torch.float64) + 0.5) * scale
    low = (center - support * widened + 0.5).trunc().clamp(min=0)
    high = torch.minimum((center + support * widened + 0.5).trunc(), count)
    filter_ = _bicubic if interpolation == "bicubic" else _bilinear
    exact: list[Tensor] = []
    for tap in range(taps):
        place = low + tap
        weight = filter_((place - center + 0.5) * (1.0 / widened))
        exact.append(torch.where(place < high, weight, 0.0))
    total = torch.zeros_like(center)
    for weight in exact:  # in this order, for the last bit
        total = total + weight
    weights = torch.stack(exact, 2) / torch.where(total == 0, 1.0, total)[:, :, None]
    rounded = weights * (1 << BITS) + torch.where(weights < 0, -0.5, 0.5)
    return low.long(), rounded.int()  # towards zero


def _bilinear(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp(min=0)


def _bicubic(x: Tensor) -> Tensor:
    a, x = -0.5, x.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))  # noqa: PLR2004 - its reach
