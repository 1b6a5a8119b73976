"""Contact sheets: the pixels a network gets, seen again."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from harness.data.sheet import Block, ClassRow, Tile, draw_sheet, visible
from harness.data.transforms import Pipeline
from harness.registry import discover
from harness.specs import BackboneSpec, Preprocessing

BACKBONES = [entry.qualified for entry in discover().entries("backbone")]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_byte_comes_back_from_what_any_backbone_gets(backbone: str):
    card = cast("BackboneSpec", discover().get("backbone", backbone).card)
    num_channels = 1 if card.preprocessing.channels == "gray" else 3
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    planes = np.stack([np.roll(ramp, 50 * channel) for channel in range(num_channels)])
    pipeline = Pipeline.of((), card.preprocessing)

    seen = visible(pipeline.tensors([planes]), pipeline.normalization)

    expected = planes[0] if num_channels == 1 else planes.transpose(1, 2, 0)
    assert np.array_equal(seen[0], expected)


def test_grey_files_are_seen_as_three_equal_channels_where_the_network_gets_three():
    pipeline = Pipeline.of((), Preprocessing(channels="bgr", value_range=255.0))
    planes = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)

    seen = visible(pipeline.tensors([planes]), pipeline.normalization)

    assert seen.shape == (1, 4, 4, 3)
    assert np.array_equal(seen[0], planes[0][:, :, None].repeat(3, axis=2))


def test_tiles_are_on_the_sheet_pixel_for_pixel():
    tiles = [Tile(noise(100, 120, seed=number), f"{number}.jpg") for number in range(3)]

    sheet = np.asarray(draw_sheet("toy", ["legend"], [block(tiles[:2], tiles[2:])], columns=4))

    assert all(occurs(tile.pixels, sheet) for tile in tiles)


def test_small_images_are_enlarged_by_a_whole_factor():
    tile = Tile(noise(28, 28, seed=0), "1")

    sheet = np.asarray(draw_sheet("toy", [], [block([tile])], columns=4))

    assert occurs(tile.pixels.repeat(4, axis=0).repeat(4, axis=1), sheet)


def test_images_beyond_the_columns_are_left_out_and_the_sheet_gets_no_wider():
    tiles = [Tile(noise(96, 96, seed=number), str(number)) for number in range(12)]

    cut = draw_sheet("toy", ["a " * 400], [block(tiles)], columns=6)

    drawn = [occurs(tile.pixels, np.asarray(cut)) for tile in tiles]
    assert drawn == [True] * 6 + [False] * 6
    assert cut.width < 1100


def test_names_of_any_length_do_not_run_into_the_tiles():
    tiles = [Tile(noise(96, 96, seed=1), "folder/" * 40)]
    long = Block("batch", (ClassRow("Laysan_Albatross" * 30, "about " * 40, tuple(tiles)),))

    sheet = np.asarray(draw_sheet("toy", [], [long], columns=1))

    assert occurs(tiles[0].pixels, sheet)


def noise(height: int, width: int, *, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def block(*classes: list[Tile]) -> Block:
    rows = [ClassRow(f"class {number}", "", tuple(tiles)) for number, tiles in enumerate(classes)]
    return Block("batch 1", tuple(rows))


def occurs(pixels: np.ndarray, sheet: np.ndarray) -> bool:
    """Return whether an image is part of another."""
    height, width = pixels.shape[:2]
    corners = np.argwhere((sheet == pixels[0, 0]).all(axis=2))
    return any(
        np.array_equal(sheet[top : top + height, left : left + width], pixels)
        for top, left in corners.tolist()
    )
