"""The steps of image pipelines, on PIL images.

Results equal those of the papers' PIL pipelines (torchvision on PIL images) bit for bit; the
random steps draw the same distributions from a stream that is passed in.

Every step is two functions: `draw` turns a random stream and an image size into parameters,
`apply` turns an image and parameters into an image. Sizes are (width, height), as PIL writes them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple, Protocol

from PIL import Image

from harness import protocol
from harness.errors import HarnessError

Size = tuple[int, int]
BILINEAR = Image.Resampling.BILINEAR
FILTERS = {"bilinear": BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Step(Protocol):
    """One step of a pipeline; `draws` says whether it uses the random stream."""

    @property
    def draws(self) -> bool:
        """Whether two calls can differ."""
        ...

    def draw(self, rng: Random, size: Size, /) -> Any:  # noqa: ANN401 - each step has its own
        """Choose the parameters for an image of this size."""
        ...

    def apply(self, image: Image.Image, params: Any, /) -> Image.Image:  # noqa: ANN401
        """Return the changed image; never changes its argument."""
        ...


class Box(NamedTuple):
    """A rectangle in pixels; it may reach over the border, where pixels are black."""

    left: int
    top: int
    width: int
    height: int


def cut(image: Image.Image, box: Box) -> Image.Image:
    """Return the pixels of a box."""
    return image.crop((box.left, box.top, box.left + box.width, box.top + box.height))


def scale_to(image: Image.Image, size: Size, *, interpolation: str = "bilinear") -> Image.Image:
    """Return the image at a size, antialiased; itself when it has that size."""
    return image if image.size == size else image.resize(size, FILTERS[interpolation])


@dataclass(frozen=True, slots=True)
class Resize:
    """Scale the shorter side to `side`; the longer one is rounded down, as torchvision does."""

    side: int
    interpolation: str = "bilinear"
    draws: bool = field(default=False, init=False, repr=False)

    def draw(self, _rng: Random, _size: Size) -> None:
        """Draw nothing."""

    def apply(self, image: Image.Image, _params: None) -> Image.Image:
        """Scale, keeping the aspect ratio."""
        width, height = image.size
        if width <= height:
            size = (self.side, int(self.side * height / width))
        else:
            size = (int(self.side * width / height), self.side)
        return scale_to(image, size, interpolation=self.interpolation)


@dataclass(frozen=True, slots=True)
class CenterCrop:
    """Cut the central square; a smaller image gets black borders."""

    side: int
    draws: bool = field(default=False, init=False, repr=False)

    def draw(self, _rng: Random, _size: Size) -> None:
        """Draw nothing."""

    def apply(self, image: Image.Image, _params: None) -> Image.Image:
        """Cut around the centre."""
        width, height = image.size
        left, top = self._start(width), self._start(height)
        return cut(image, Box(left, top, self.side, self.side))

    def _start(self, length: int) -> int:
        """Return where the crop starts on one axis; negative when the image is smaller."""
        if length < self.side:
            return -((self.side - length) // 2)
        return round((length - self.side) / 2)  # halves go to the even number, as in torchvision


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """Cut a square at a uniformly random place of the image with black borders added."""

    side: int
    padding: int = 0
    draws: bool = field(default=True, init=False, repr=False)

    def draw(self, rng: Random, size: Size) -> Box:
        """Choose the place.

        Raises:
            HarnessError: The padded image is smaller than the crop.
        """
        width, height = size[0] + 2 * self.padding, size[1] + 2 * self.padding
        if width < self.side or height < self.side:
            raise HarnessError(
                f"an image of {size[0]}x{size[1]} is too small for random_crop {self.side} with "
                f"padding {self.padding}",
                hint=f"put a resize to {self.side} or more before it",
            )
        left = _integer(rng, width - self.side + 1) - self.padding
        top = _integer(rng, height - self.side + 1) - self.padding
        return Box(left, top, self.side, self.side)

    def apply(self, image: Image.Image, params: Box) -> Image.Image:
        """Cut the box."""
        return cut(image, params)


@dataclass(frozen=True, slots=True)
class RandomResizedCrop:
    """Cut a random box and scale it to a square.

    Box area is uniform in `scale` times the image's, log aspect ratio uniform in the logs of
    `ratio`; after ten boxes that do not fit, the largest central box of an allowed ratio is cut
    (torchvision's algorithm, from arXiv:1409.4842).
    """

    side: int
    scale: tuple[float, float]
    ratio: tuple[float, float]
    interpolation: str = "bilinear"
    draws: bool = field(default=True, init=False, repr=False)

    def draw(self, rng: Random, size: Size) -> Box:
        """Choose the box."""
        width, height = size
        log_low, log_high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(10):
            area = width * height * _uniform(rng, *self.scale)
            aspect = math.exp(_uniform(rng, log_low, log_high))
            box_width = round(math.sqrt(area * aspect))
            box_height = round(math.sqrt(area / aspect))
            if 0 < box_width <= width and 0 < box_height <= height:
                top = _integer(rng, height - box_height + 1)
                left = _integer(rng, width - box_width + 1)
                return Box(left, top, box_width, box_height)
        return self._largest_central(width, height)

    def _largest_central(self, width: int, height: int) -> Box:
        low, high = self.ratio
        box_width, box_height = width, height
        if width / height < low:
            box_height = round(width / low)
        elif width / height > high:
            box_width = round(height * high)
        return Box((width - box_width) // 2, (height - box_height) // 2, box_width, box_height)

    def apply(self, image: Image.Image, params: Box) -> Image.Image:
        """Cut, then scale: pixels outside the box must not bleed into its border."""
        size = (self.side, self.side)
        return scale_to(cut(image, params), size, interpolation=self.interpolation)


@dataclass(frozen=True, slots=True)
class HorizontalFlip:
    """Mirror left and right with probability `p`."""

    p: float
    draws: bool = field(default=True, init=False, repr=False)

    def draw(self, rng: Random, _size: Size) -> bool:
        """Choose whether to mirror."""
        return rng.random() < self.p

    def apply(self, image: Image.Image, params: bool) -> Image.Image:  # noqa: FBT001 - what draw gave
        """Mirror, or not."""
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if params else image


class Affine(NamedTuple):
    """Angle in degrees, counter-clockwise in image coordinates; shift in pixels; scale factor."""

    angle: float
    shift_x: float
    shift_y: float
    scale: float


@dataclass(frozen=True, slots=True)
class RandomAffine:
    """Rotate about the centre, shift and scale; bilinear, black outside."""

    degrees: float
    translate: float
    scale: tuple[float, float]
    draws: bool = field(default=True, init=False, repr=False)

    def draw(self, rng: Random, size: Size) -> Affine:
        """Choose angle, shift and scale, each uniform in its bounds."""
        reach_x, reach_y = self.translate * size[0], self.translate * size[1]
        return Affine(
            angle=_uniform(rng, -self.degrees, self.degrees),
            shift_x=_uniform(rng, -reach_x, reach_x),
            shift_y=_uniform(rng, -reach_y, reach_y),
            scale=_uniform(rng, *self.scale),
        )

    def apply(self, image: Image.Image, params: Affine) -> Image.Image:
        """Move the image; PIL wants the inverse map, from a target pixel to its source."""
        angle = math.radians(params.angle)
        cos, sin = math.cos(angle) / params.scale, math.sin(angle) / params.scale
        center_x, center_y = image.width * 0.5, image.height * 0.5
        to_x, to_y = -center_x - params.shift_x, -center_y - params.shift_y
        inverse = (
            *(cos, sin, cos * to_x + sin * to_y + center_x),
            *(-sin, cos, -sin * to_x + cos * to_y + center_y),
        )
        return image.transform(image.size, Image.Transform.AFFINE, inverse, BILINEAR)


def _uniform(rng: Random, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def _integer(rng: Random, count: int) -> int:
    """Return an integer in [0, count); only `Random.random` is stable across Python versions."""
    return int(rng.random() * count)


def make_step(step: protocol.TransformStep) -> Step:
    """Return the working twin of a protocol's transform step."""
    match step:
        case protocol.Resize():
            return Resize(step.size, step.interpolation)
        case protocol.CenterCrop():
            return CenterCrop(step.size)
        case protocol.RandomCrop():
            return RandomCrop(step.size, step.padding)
        case protocol.RandomResizedCrop():
            return RandomResizedCrop(step.size, step.scale, step.ratio, step.interpolation)
        case protocol.HorizontalFlip():
            return HorizontalFlip(step.p)
        case protocol.RandomAffine():
            return RandomAffine(step.degrees, step.translate, step.scale)
