"""A contact sheet: batches of images as the network sees them, one row of tiles per class.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from harness.data.normalization import Normalization

MARGIN = 24
GAP = 8  # between tiles
SMALLEST_TILE = 96  # pixels on the sheet; smaller images are enlarged by a whole factor
LABEL_WIDTH = 190
LEGEND_WIDTH = 720  # at least
MORE_WIDTH = 48  # of the number of images left out
BREAKS = re.compile(r"[^ /_]*[ /_]?")
"""A piece of text with the character after which a line may end."""
PAPER, INK, PALE, RULE = "#ffffff", "#1b1b1b", "#6d6d6d", "#c9c9c9"
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 20, 14, 11
LINE = {size: round(1.4 * size) for size in (TITLE_SIZE, TEXT_SIZE, SMALL_SIZE)}

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One image as it is in a batch.

    Attributes:
        pixels: (H, W) or (H, W, 3), bytes.
        name: Which image it is.
    """

    pixels: NDArray[np.uint8]
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class ClassRow:
    """Images of one class in one batch.

    Attributes:
        name: Of the class.
        about: A line of facts below the name.
        tiles: All of the class that the batch holds.
    """

    name: str
    about: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One batch: a headline and its classes."""

    title: str
    rows: tuple[ClassRow, ...]


def visible(images: Tensor, normalization: Normalization) -> NDArray[np.uint8]:
    """Return the bytes that `Normalization` made a batch of: (B, H, W) if grey, or (B, H, W, 3).

    Blue comes last again, whatever order the backbone wants; every byte is that of before.

    Args:
        images: (B, C, H, W) as the backbone gets them.
        normalization: What was done to the bytes.
    """
    values = images.detach().cpu().to(torch.float64).numpy()
    if normalization.std is not None:
        values = values * normalization.std
    if normalization.mean is not None:
        values = values + normalization.mean
    if normalization.divisor is not None:
        values = values * normalization.divisor
    pixels = np.rint(values).clip(0, 255).astype(np.uint8)
    if normalization.reverse:
        pixels = pixels[:, ::-1]
    return pixels[:, 0] if pixels.shape[1] == 1 else pixels.transpose(0, 2, 3, 1)


def draw_sheet(
    title: str, legend: Sequence[str], blocks: Sequence[Block], *, columns: int
) -> Image.Image:
    """Return the sheet.

    Tiles have the size of the images, or a whole multiple where those are small, so that every
    pixel is seen as it is. Where a class has more images than columns, the rest is counted.

    Args:
        title: Headline.
        legend: Paragraphs below it.
        blocks: Batches.
        columns: Most tiles of a row.
    """
    size, factor = _tile_size(blocks)
    widest = max(min(columns, len(row.tiles)) for block in blocks for row in block.rows)
    more = any(len(row.tiles) > columns for block in blocks for row in block.rows)
    inside = LABEL_WIDTH + widest * (size[0] + GAP) - GAP + MORE_WIDTH * more
    inside = max(inside, LEGEND_WIDTH, _text_width(title, TITLE_SIZE))
    if factor > 1:
        legend = [*legend, f"Each pixel is drawn as {factor} x {factor}."]
    lines = [line for text in legend for line in _wrapped(text, inside, TEXT_SIZE)]
    height = _height(lines, blocks, size[1])
    page = _Page(inside + 2 * MARGIN, height, size, factor, columns)
    page.headline(title, lines)
    for block in blocks:
        page.block(block)
    return page.image


class _Page:
    """Draws from top to bottom."""

    def __init__(
        self, width: int, height: int, tile: tuple[int, int], factor: int, columns: int
    ) -> None:
        self.image = Image.new("RGB", (width, height), PAPER)
        self.pen = ImageDraw.Draw(self.image)
        self.tile, self.factor, self.columns = tile, factor, columns
        self.y = MARGIN

    def write(self, x: int, y: int, text: str, size: int, color: str = INK) -> None:
        self.pen.text((x, y), text, fill=color, font=_font(size))

    def headline(self, title: str, lines: Sequence[str]) -> None:
        self.write(MARGIN, self.y, title, TITLE_SIZE)
        self.y += LINE[TITLE_SIZE]
        for line in lines:
            self.write(MARGIN, self.y, line, TEXT_SIZE, PALE)
            self.y += LINE[TEXT_SIZE]

    def block(self, block: Block) -> None:
        self.y += GAP
        self.pen.line((MARGIN, self.y, self.image.width - MARGIN, self.y), fill=RULE)
        self.y += GAP
        self.write(MARGIN, self.y, block.title, TEXT_SIZE)
        self.y += LINE[TEXT_SIZE] + GAP
        for row in block.rows:
            self.row(row)

    def row(self, row: ClassRow) -> None:
        self.label(row)
        x = MARGIN + LABEL_WIDTH
        for tile in row.tiles[: self.columns]:
            image = Image.fromarray(tile.pixels)
            shown = image.resize(
                (image.width * self.factor, image.height * self.factor), Image.Resampling.NEAREST
            )
            self.pen.rectangle((x - 1, self.y - 1, x + shown.width, self.y + shown.height), RULE)
            self.image.paste(shown, (x, self.y))
            name = _shortened(tile.name, self.tile[0], SMALL_SIZE)
            self.write(x, self.y + self.tile[1] + 2, name, SMALL_SIZE, PALE)
            x += self.tile[0] + GAP
        if len(row.tiles) > self.columns:
            self.write(x, self.y, f"+ {len(row.tiles) - self.columns}", TEXT_SIZE, PALE)
        self.y += _row_height(self.tile[1])

    def label(self, row: ClassRow) -> None:
        room = LABEL_WIDTH - 2 * GAP
        about = _wrapped(row.about, room, SMALL_SIZE)[:2]
        lines = _wrapped(row.name, room, TEXT_SIZE)
        most = (self.tile[1] - len(about) * LINE[SMALL_SIZE]) // LINE[TEXT_SIZE]
        y = self.y
        for line in lines[:most]:
            self.write(MARGIN, y, line, TEXT_SIZE)
            y += LINE[TEXT_SIZE]
        for line in about:
            self.write(MARGIN, y, line, SMALL_SIZE, PALE)
            y += LINE[SMALL_SIZE]


def _tile_size(blocks: Sequence[Block]) -> tuple[tuple[int, int], int]:
    """Return the size of a tile on the sheet, and how often a pixel is repeated."""
    pixels = blocks[0].rows[0].tiles[0].pixels
    height, width = pixels.shape[:2]
    factor = -(-SMALLEST_TILE // min(height, width))
    return (width * factor, height * factor), factor


def _row_height(tile_height: int) -> int:
    return tile_height + LINE[SMALL_SIZE] + GAP


def _height(lines: Sequence[str], blocks: Sequence[Block], tile_height: int) -> int:
    head = LINE[TITLE_SIZE] + len(lines) * LINE[TEXT_SIZE]
    titles = len(blocks) * (LINE[TEXT_SIZE] + 3 * GAP)
    num_rows = sum(len(block.rows) for block in blocks)
    return 2 * MARGIN + head + titles + num_rows * _row_height(tile_height)


@cache
def _font(size: int) -> Font:
    """Return Pillow's own font, so that a sheet looks the same everywhere."""
    return ImageFont.load_default(size)


def _text_width(text: str, size: int) -> int:
    return int(_font(size).getlength(text)) + 1


def _wrapped(text: str, width: int, size: int) -> list[str]:
    """Return lines that fit into a width, broken inside a word only where nothing else helps."""
    lines = [""]
    for piece in BREAKS.findall(text):
        if _text_width(lines[-1] + piece.rstrip(), size) > width:
            lines.append("")
        for character in piece:
            if lines[-1] and _text_width(lines[-1] + character.rstrip(), size) > width:
                lines.append("")
            lines[-1] += character
    return [line for line in lines if line]


def _shortened(text: str, width: int, size: int) -> str:
    """Return the text, or its end after an ellipsis: the end of a file name tells most."""
    if _text_width(text, size) <= width:
        return text
    start = next(
        (at for at in range(1, len(text)) if _text_width("…" + text[at:], size) <= width),
        len(text),
    )
    return "…" + text[start:]
