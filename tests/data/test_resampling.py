"""Scaling of boxes: Pillow's bytes, compiled or as sums of a whole batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from harness import protocol
from harness.data import resampling, scaled_crop
from harness.data.batch_scaling import Cuts, scale_boxes
from harness.data.scaled_crop import Cut, ScaledCrop, stack_cuts
from harness.data.steps import HorizontalFlip, RandomCrop, RandomResizedCrop
from harness.data.transforms import Pipeline
from harness.specs import Preprocessing

ROOT = Path(__file__).parents[2]
PROTOCOLS = sorted(ROOT.glob("protocols/*.yaml"))
needs_compiler = pytest.mark.skipif(
    resampling.fast_scale() is None, reason="no compiled loops here; see harness doctor"
)

Scaler = Callable[[Cut, int, str], np.ndarray]
sides = st.integers(1, 150)
filters = st.sampled_from(["bilinear", "bicubic"])


def compiled(cut: Cut, side: int, interpolation: str) -> np.ndarray:
    scale = resampling.fast_scale()
    assert scale is not None
    return scale(cut.pixels, side, interpolation, mirrored=cut.mirrored)


def in_a_batch(cut: Cut, side: int, interpolation: str) -> np.ndarray:
    other = Cut(noise(31, 17, cut.pixels.ndim), mirrored=not cut.mirrored)  # padded, as is `cut`
    return scale_boxes(stack_cuts([other, cut]), side, interpolation)[1].numpy()


def pillow(cut: Cut, side: int, interpolation: str) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(cut.pixels))
    image = image.resize((side, side), getattr(Image.Resampling, interpolation.upper()))
    if cut.mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)


def noise(height: int, width: int, ndim: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, 3)[:ndim]
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


SCALERS = [pytest.param(compiled, marks=needs_compiler), in_a_batch]


cuts = st.builds(
    lambda height, width, ndim, seed, mirrored: Cut(
        noise(height + 2, width + 3, ndim, seed)[1:-1, 2:-1], mirrored
    ),
    sides,
    sides,
    st.sampled_from([2, 3]),
    st.integers(0, 99),
    st.booleans(),
)


@pytest.mark.parametrize("scaler", SCALERS)
@settings(max_examples=150)
@given(cut=cuts, side=st.integers(1, 80), interpolation=filters)
def test_a_box_of_any_size_gets_pillows_bytes(scaler: Scaler, cut, side, interpolation):
    scaled = scaler(cut, side, interpolation)

    assert np.array_equal(scaled, pillow(cut, side, interpolation))


@pytest.mark.parametrize("scaler", SCALERS)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("value", [0, 255])
def test_sums_stay_inside_a_byte(scaler: Scaler, interpolation, value):
    """Bicubic weights go below zero, so edges overshoot what a byte can hold."""
    box = np.full((40, 60, 3), 255 - value, np.uint8)
    box[10:30:7, 20:40] = value
    cut = Cut(box, mirrored=False)

    assert np.array_equal(scaler(cut, 90, interpolation), pillow(cut, 90, interpolation))


@pytest.mark.parametrize("scaler", SCALERS)
@pytest.mark.parametrize(
    ("height", "width"), [(500, 230), (500, 241), (230, 500), (227, 227)], ids=str
)
def test_the_order_of_the_axes_is_pillows(scaler: Scaler, height, width):
    """Bytes are rounded between the axes, so their order shows."""
    cut = Cut(noise(height, width), mirrored=True)

    assert np.array_equal(scaler(cut, 227, "bilinear"), pillow(cut, 227, "bilinear"))


@settings(max_examples=30)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=40),
    grey=st.sampled_from(["none", "some", "all"]),
    seed=st.integers(0, 99),
)
def test_images_of_a_batch_do_not_touch_one_another(sizes, grey, seed):
    rng = Random(seed)
    ndims = {"none": [3], "some": [2, 3], "all": [2]}[grey]
    cuts = [
        Cut(noise(h, w, rng.choice(ndims), seed), mirrored=rng.random() < 0.5) for h, w in sizes
    ]

    scaled = scale_boxes(stack_cuts(cuts), 24, "bilinear").numpy()

    for cut, planes in zip(cuts, scaled, strict=True):
        alone = pillow(cut, 24, "bilinear")
        assert np.array_equal(planes, np.broadcast_to(alone, planes.shape))


def test_what_lies_beside_a_box_is_not_looked_at():
    box = noise(20, 30)
    pixels = torch.full((1, 50, 60, 3), 255, dtype=torch.uint8)
    pixels[0, :20, :30] = torch.from_numpy(box)

    scaled = scale_boxes(
        Cuts(pixels, torch.tensor([[20, 30]]), torch.tensor([False])), 16, "bicubic"
    )

    assert np.array_equal(scaled[0].numpy(), pillow(Cut(box, mirrored=False), 16, "bicubic"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_gpu_gives_the_same_bytes(interpolation):
    rng = np.random.default_rng(0)
    cuts = [
        Cut(noise(*rng.integers(1, 500, 2), seed=index), mirrored=index % 2 == 1)
        for index in range(70)
    ]
    stacked = stack_cuts(cuts)
    there = stacked._replace(pixels=stacked.pixels.cuda())

    assert torch.equal(
        scale_boxes(there, 227, interpolation).cpu(), scale_boxes(stacked, 227, interpolation)
    )


@pytest.mark.parametrize("path", PROTOCOLS, ids=lambda path: path.stem)
def test_training_pipelines_give_the_same_without_the_compiled_code(path, monkeypatch):
    pipeline = Pipeline.of(protocol.load(path).transforms.train, Preprocessing())
    boxes = [noise(*size, ndim, seed=5) for size in ((280, 330), (256, 300)) for ndim in (2, 3)]

    fast = [pipeline.finish(pixels, Random(7)) for pixels in boxes]
    monkeypatch.setattr("harness.data.transforms.fast_scale", lambda: None)
    plain = [pipeline.finish(pixels, Random(7)) for pixels in boxes]

    assert all(np.array_equal(*pair) for pair in zip(fast, plain, strict=True))


@needs_compiler
def test_a_pillow_that_scales_otherwise_is_followed(monkeypatch, caplog):
    monkeypatch.setattr(resampling, "TALL_FIRST", not resampling.TALL_FIRST)

    assert resampling.fast_scale.__wrapped__() is None
    assert "in a way of its own" in caplog.text


def test_a_pillow_that_scales_otherwise_is_followed_by_batches(monkeypatch):
    assert scaled_crop.scales_in_batches.__wrapped__()

    monkeypatch.setattr("harness.data.batch_scaling.height_first", lambda *_: False)

    assert scaled_crop.scales_in_batches.__wrapped__() is not resampling.TALL_FIRST


def test_without_the_library_there_is_no_fast_path(monkeypatch):
    monkeypatch.setattr(resampling, "library", lambda _name: None)

    assert resampling.fast_scale.__wrapped__() is None


def test_only_a_box_with_flips_is_a_scaled_crop():
    crop, flip = RandomResizedCrop(8, (0.2, 1.0), (0.75, 1.33)), HorizontalFlip(0.5)

    assert ScaledCrop.of((crop, flip)) == ScaledCrop(crop, (flip,))
    assert ScaledCrop.of((crop,)) == ScaledCrop(crop, ())
    for other in ((), (flip, crop), (RandomCrop(8), flip), (crop, RandomCrop(8))):
        assert ScaledCrop.of(other) is None


@given(seed=st.integers(0, 999), flips=st.integers(0, 3))
def test_a_cut_draws_what_the_steps_draw(seed, flips):
    pixels = noise(40, 50)
    crop = RandomResizedCrop(8, (0.2, 1.0), (0.75, 1.33))
    steps = (crop, *[HorizontalFlip(0.5)] * flips)
    rng, twin = Random(seed), Random(seed)

    scaled_crop = ScaledCrop.of(steps)
    assert scaled_crop
    cut = scaled_crop.cut(pixels, rng)

    box = crop.draw(twin, (50, 40))
    times = sum(step.draw(twin, (8, 8)) for step in steps[1:])
    right, bottom = box.left + box.width, box.top + box.height
    assert np.array_equal(cut.pixels, pixels[box.top : bottom, box.left : right])
    assert cut.mirrored == bool(times % 2)
    assert rng.random() == twin.random()
