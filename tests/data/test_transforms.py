"""Transforms: bit-equal to torchvision on PIL images, the twin the papers' code uses."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as F  # noqa: N812 - its usual name

from harness import protocol
from harness.data import steps as ours
from harness.data.normalization import Normalization
from harness.data.transforms import Pipeline, pixels_of, to_eight_bits
from harness.errors import HarnessError
from harness.protocol import Transforms
from harness.specs import Preprocessing

PLAIN = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def photo(width: int, height: int, *, mode: str = "RGB", seed: int = 0) -> Image.Image:
    shape = (height, width) if mode == "L" else (height, width, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(pixels)


def same(first: Image.Image, second: Image.Image) -> bool:
    return first.mode == second.mode and np.array_equal(np.asarray(first), np.asarray(second))


def pipeline_of(*steps: dict[str, object], preprocessing: Preprocessing = PLAIN) -> Pipeline:
    parsed = Transforms.model_validate({"train": steps, "eval": []}).train
    return Pipeline.of(parsed, preprocessing)


sides = st.integers(1, 60)
modes = st.sampled_from(["RGB", "L"])


@settings(max_examples=50)
@given(width=sides, height=sides, side=st.integers(1, 50), mode=modes)
def test_resize_equals_torchvision(width, height, side, mode):
    image = photo(width, height, mode=mode)

    resized = ours.Resize(side).apply(image, None)

    assert same(resized, F.resize(image, side))


@settings(max_examples=50)
@given(width=sides, height=sides, side=st.integers(1, 50), mode=modes)
def test_center_crop_equals_torchvision_also_for_smaller_images(width, height, side, mode):
    image = photo(width, height, mode=mode)

    cropped = ours.CenterCrop(side).apply(image, None)

    assert same(cropped, F.center_crop(image, [side, side]))


@settings(max_examples=50)
@given(width=sides, height=sides, seed=st.integers(0, 99), mode=modes)
def test_random_resized_crop_equals_torchvision_for_the_same_box(width, height, seed, mode):
    image = photo(width, height, mode=mode)
    step = ours.RandomResizedCrop(24, (0.08, 1.0), (3 / 4, 4 / 3))
    box = step.draw(Random(seed), image.size)

    cropped = step.apply(image, box)

    expected = F.resized_crop(image, box.top, box.left, box.height, box.width, [24, 24])
    assert same(cropped, expected)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_bicubic_steps_equal_torchvision(mode):
    image = photo(90, 61, mode=mode)
    bicubic = InterpolationMode.BICUBIC
    resize, crop = map(
        ours.make_step,
        (
            protocol.Resize(step="resize", size=40, interpolation="bicubic"),
            protocol.RandomResizedCrop(
                step="random_resized_crop", size=24, scale=(0.2, 1.0), interpolation="bicubic"
            ),
        ),
    )
    box = crop.draw(Random(0), image.size)

    resized, cropped = resize.apply(image, None), crop.apply(image, box)

    assert same(resized, F.resize(image, 40, bicubic))
    assert not same(resized, F.resize(image, 40))
    place = (box.top, box.left, box.height, box.width)
    assert same(cropped, F.resized_crop(image, *place, [24, 24], bicubic))


@pytest.mark.parametrize("size", [(340, 256), (256, 500), (60, 64)], ids=str)
@pytest.mark.parametrize(
    ("scale", "ratio"), [((0.16, 1.0), (0.75, 1.33)), ((0.08, 1.0), (3 / 4, 4 / 3))], ids=str
)
def test_random_boxes_are_distributed_as_torchvisions(size, scale, ratio):
    step = ours.RandomResizedCrop(227, scale, ratio)
    rng = Random(1)
    blank = torch.empty(3, size[1], size[0])
    torch.manual_seed(1)

    drawn = np.array([step.draw(rng, size) for _ in range(3000)])
    theirs = np.array(
        [RandomResizedCrop.get_params(blank, list(scale), list(ratio)) for _ in range(3000)]
    )[:, [1, 0, 3, 2]]  # top, left, height, width

    for column in range(4):
        assert ks_2samp(drawn[:, column], theirs[:, column]).pvalue > 0.001
    assert ks_2samp(drawn[:, 2] / drawn[:, 3], theirs[:, 2] / theirs[:, 3]).pvalue > 0.001


@pytest.mark.parametrize("size", [(1000, 10), (10, 1000), (7, 90)], ids=str)
def test_an_image_no_box_fits_gets_torchvisions_central_box(size):
    step = ours.RandomResizedCrop(8, (0.9, 1.0), (0.75, 1.33))
    blank = torch.empty(3, size[1], size[0])

    box = step.draw(Random(0), size)

    top, left, height, width = RandomResizedCrop.get_params(blank, [0.9, 1.0], [0.75, 1.33])
    assert box == ours.Box(left=left, top=top, width=width, height=height)


@settings(max_examples=50)
@given(seed=st.integers(0, 99), padding=st.integers(0, 9), mode=modes)
def test_random_crop_is_a_crop_of_the_padded_image(seed, padding, mode):
    image = photo(20, 30, mode=mode)
    step = ours.RandomCrop(18, padding)
    box = step.draw(Random(seed), image.size)

    cropped = step.apply(image, box)

    padded = F.pad(image, [padding] * 4)
    assert same(cropped, F.crop(padded, box.top + padding, box.left + padding, 18, 18))
    assert 0 <= box.left + padding <= 2 * padding + 2
    assert 0 <= box.top + padding <= 2 * padding + 12


def test_random_crop_reaches_every_place():
    step = ours.RandomCrop(3, 1)
    rng = Random(0)

    places = {step.draw(rng, (4, 3))[:2] for _ in range(300)}

    assert places == {(left, top) for left in (-1, 0, 1, 2) for top in (-1, 0, 1)}


def test_random_crop_of_a_small_image_says_what_to_do():
    with pytest.raises(HarnessError, match="20x10 is too small for random_crop 18") as caught:
        ours.RandomCrop(18, 2).draw(Random(0), (20, 10))

    assert "resize" in str(caught.value.hint)


@settings(max_examples=50)
@given(seed=st.integers(0, 99), mode=modes)
def test_affine_equals_torchvision_for_the_same_parameters(seed, mode):
    image = photo(28, 31, mode=mode)
    step = ours.RandomAffine(30, 0.2, (0.7, 1.4))
    drawn = step.draw(Random(seed), image.size)

    moved = step.apply(image, drawn)

    shift = [drawn.shift_x, drawn.shift_y]
    bilinear = InterpolationMode.BILINEAR
    assert same(moved, F.affine(image, drawn.angle, shift, drawn.scale, [0.0], bilinear))


def test_affine_draws_stay_inside_their_bounds_and_reach_both_sides():
    step = ours.RandomAffine(10, 0.1, (0.9, 1.2))
    rng = Random(3)

    drawn = np.array([step.draw(rng, (100, 50)) for _ in range(2000)])

    low, high = drawn.min(axis=0), drawn.max(axis=0)
    assert np.allclose(low, [-10, -10, -5, 0.9], atol=[0.1, 0.1, 0.05, 0.01])
    assert np.allclose(high, [10, 10, 5, 1.2], atol=[0.1, 0.1, 0.05, 0.01])
    assert (low >= [-10, -10, -5, 0.9]).all()
    assert (high <= [10, 10, 5, 1.2]).all()


def test_flip_mirrors_with_its_probability():
    image = photo(5, 4)
    step = ours.HorizontalFlip(0.3)
    rng = Random(0)

    share = np.mean([step.draw(rng, (5, 4)) for _ in range(3000)])

    assert share == pytest.approx(0.3, abs=0.03)
    assert same(step.apply(image, True), F.hflip(image))  # noqa: FBT003
    assert same(step.apply(image, False), image)  # noqa: FBT003


def test_the_mlrc_evaluation_pipeline_equals_the_papers_code():
    image = photo(500, 375)
    bgr = Preprocessing("bgr", 255.0, mean=(104.0, 117.0, 128.0), std=(1.0, 1.0, 1.0))
    steps = ({"step": "resize", "size": 256}, {"step": "center_crop", "size": 227})

    tensor = pipeline_of(*steps, preprocessing=bgr)(image, Random(0))

    as_bgr = Image.fromarray(np.asarray(image)[:, :, ::-1].copy())
    theirs = F.to_tensor(F.center_crop(F.resize(as_bgr, 256), [227, 227])) * 255
    theirs = F.normalize(theirs, [104, 117, 128], [1, 1, 1])
    assert torch.allclose(tensor, theirs, atol=1e-4)  # theirs divides by 255 and multiplies again
    assert torch.equal(tensor, theirs.round())


def test_the_conventional_pipeline_is_bit_equal_to_to_tensor_and_normalize():
    image = photo(64, 48)
    imagenet = Preprocessing()

    tensor = pipeline_of({"step": "resize", "size": 32}, preprocessing=imagenet)(image, Random(0))

    theirs = F.normalize(
        F.to_tensor(F.resize(image, 32)), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    assert torch.equal(tensor, theirs)


def test_prefix_is_what_comes_before_the_first_random_step():
    pipeline = pipeline_of(
        {"step": "resize", "size": 40},
        {"step": "center_crop", "size": 32},
        {"step": "horizontal_flip"},
        {"step": "resize", "size": 16},
    )

    kinds = [[type(step).__name__ for step in part] for part in (pipeline.prefix, pipeline.suffix)]

    assert kinds == [["Resize", "CenterCrop"], ["HorizontalFlip", "Resize"]]


EVERY_STEP = (
    {"step": "resize", "size": 40},
    {"step": "random_crop", "size": 36, "padding": 2},
    {"step": "random_affine", "degrees": 20, "translate": 0.1, "scale": [0.8, 1.2]},
    {"step": "random_resized_crop", "size": 24},
    {"step": "horizontal_flip"},
    {"step": "center_crop", "size": 20},
)


def test_every_step_of_a_protocol_has_a_working_twin():
    listed = {step["step"] for step in EVERY_STEP}

    steps = protocol.TransformStep.__origin__.__args__  # type: ignore[attr-defined]

    assert listed == {step.model_fields["step"].annotation.__args__[0] for step in steps}


@pytest.mark.parametrize("seed", range(5))
def test_a_grey_image_gives_what_its_three_channel_copy_gives(seed):
    grey = photo(50, 44, mode="L", seed=seed)
    pipeline = pipeline_of(*EVERY_STEP, preprocessing=Preprocessing())

    tensor = pipeline(grey, Random(seed))

    assert tensor.shape == (3, 20, 20)
    assert torch.equal(tensor, pipeline(grey.convert("RGB"), Random(seed)))


def test_a_batch_may_mix_grey_and_colour():
    pipeline = pipeline_of(preprocessing=Preprocessing())
    grey, colour = photo(6, 5, mode="L"), photo(6, 5)
    rng = Random(0)

    pixels = [pixels_of(pipeline.prepare(image)) for image in (grey, colour)]
    batch = pipeline.tensors([pipeline.finish(array, rng) for array in pixels])

    assert torch.equal(batch[0], pipeline(grey, rng))
    assert torch.equal(batch[1], pipeline(colour, rng))


def test_images_of_different_sizes_do_not_make_a_batch():
    pixels = [np.zeros((3, 4, 5), np.uint8), np.zeros((3, 4, 6), np.uint8)]

    with pytest.raises(HarnessError, match="different sizes: 5x4, 6x4") as caught:
        pipeline_of().tensors(pixels)

    assert "center_crop" in str(caught.value.hint)


CARDS = {
    "unit": Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "bgr": Preprocessing("bgr", 255.0, mean=(104.0, 117.0, 128.0), std=(1.0, 1.0, 1.0)),
    "gray": Preprocessing("gray", 1.0, mean=(0.5,), std=(0.25,)),
    "one value": Preprocessing(mean=(0.5,), std=(0.3,)),
}


@pytest.mark.parametrize("num_planes", [1, 3])
@pytest.mark.parametrize("card", CARDS)
def test_the_table_for_other_devices_has_the_bits_of_the_arithmetic(card, num_planes):
    normalization = Normalization.of(CARDS[card])
    shape = (2, min(num_planes, normalization.num_channels), 16, 16)
    rng = torch.Generator().manual_seed(0)
    pixels = torch.cat(
        [
            torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(1, *shape[1:]),
            torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8),
        ]
    )

    assert torch.equal(normalization.looked_up(pixels), normalization.images(pixels))


WHITE = {
    "1": Image.new("1", (4, 3), 1),
    "L": Image.new("L", (4, 3), 255),
    "LA": Image.new("LA", (4, 3), (255, 0)),
    "P": Image.new("RGB", (4, 3), "white").convert("P"),
    "RGBA": Image.new("RGBA", (4, 3), (255, 255, 255, 0)),
    "CMYK": Image.new("CMYK", (4, 3), (0, 0, 0, 0)),
    "YCbCr": Image.new("RGB", (4, 3), "white").convert("YCbCr"),
    "F": Image.new("F", (4, 3), 255.0),
    "I;16": Image.fromarray(np.full((3, 4), 65_535, np.uint16)),
    "I": Image.new("I", (4, 3), 65_535),
}


@pytest.mark.parametrize("mode", WHITE)
@pytest.mark.parametrize(("channels", "planes"), [("rgb", 3), ("bgr", 3), ("gray", 1)])
def test_white_is_white_in_every_mode(mode, channels, planes):
    preprocessing = Preprocessing(channels, 1.0, mean=(0.0,) * planes, std=(1.0,) * planes)

    tensor = pipeline_of(preprocessing=preprocessing)(WHITE[mode], Random(0))

    assert tensor.shape == (planes, 3, 4)
    assert torch.equal(tensor, torch.ones(planes, 3, 4))


def test_sixteen_bits_keep_their_grey_levels():
    image = Image.fromarray(np.array([[0, 256, 32_768, 65_535]], np.uint16))

    pixels = np.asarray(to_eight_bits(image, "rgb"))

    assert pixels.tolist() == [[0, 1, 128, 255]]


def test_bgr_reverses_the_channels_but_not_mean_and_std():
    image = Image.new("RGB", (1, 1), (10, 20, 30))
    preprocessing = Preprocessing("bgr", 255.0, mean=(1.0, 2.0, 3.0), std=(1.0, 2.0, 4.0))

    tensor = pipeline_of(preprocessing=preprocessing)(image, Random(0))

    assert tensor.flatten().tolist() == [29.0, 9.0, 1.75]


def test_a_card_whose_mean_does_not_fit_is_refused():
    with pytest.raises(HarnessError, match="3 values of mean for gray"):
        pipeline_of(preprocessing=Preprocessing("gray"))


def test_a_mode_without_a_way_to_grey_is_refused():
    with pytest.raises(HarnessError, match="mode LAB cannot become L"):
        to_eight_bits(Image.new("LAB", (2, 2)), "gray")
