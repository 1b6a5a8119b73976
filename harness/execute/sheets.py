"""What a network would see: the first training batches of a run, drawn for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from harness.data.loading import Loaders
from harness.data.normalization import Normalization
from harness.data.reading import ImageBatch
from harness.data.sheet import Block, ClassRow, Tile, draw_sheet, visible
from harness.data.splits import assign
from harness.errors import HarnessError
from harness.execute.assembly import find_table, loaders_of
from harness.execute.events import ExecutionOptions
from harness.plan import Chosen, Feed
from harness.protocol import TransformStep
from harness.specs import BackboneSpec, Preprocessing


@dataclass(frozen=True, slots=True)
class Sheet:
    """A drawn contact sheet.

    Attributes:
        image: To be saved.
        num_batches, num_classes, num_images: What is on it, even where a row is cut.
        size: Width and height of an image as the network gets it.
    """

    image: Image.Image
    num_batches: int
    num_classes: int
    num_images: int
    size: tuple[int, int]


def contact_sheet(feed: Feed, *, data_root: Path, rows: int, columns: int) -> Sheet:
    """Draw the first training batches of a run, by the loaders that the run itself uses.

    Args:
        feed: Whose batches.
        data_root: Folder data sets are looked for in.
        rows: Classes to draw; batches are read until there are so many, or the epoch ends.
        columns: Most images of a row.

    Raises:
        MissingDataError: The data set is not on this machine.
        HarnessError: An image cannot be read, the images differ in size, …
    """
    options = ExecutionOptions(data_root=data_root, cache=None)
    table = find_table(feed, options)
    split = assign(table, feed.protocol.split, feed.fold)
    loaders = loaders_of(feed, table, split, device=torch.device("cpu"), options=options)
    normalization = Normalization.of(_preprocessing(feed))
    blocks = tuple(_blocks(loaders, rows, normalization))
    if not blocks:
        raise HarnessError("the sampler gives no batch", hint="see sampler in the protocol")
    tiles = [tile for block in blocks for row in block.rows for tile in row.tiles]
    height, width = tiles[0].pixels.shape[:2]
    image = draw_sheet(
        f"{feed.protocol.name} v{feed.protocol.version}, what the network sees",
        _legend(feed, loaders, size=(width, height)),
        blocks,
        columns=columns,
    )
    num_classes = len({row.name for block in blocks for row in block.rows})
    return Sheet(image, len(blocks), num_classes, len(tiles), (width, height))


def _blocks(loaders: Loaders, num_rows: int, normalization: Normalization) -> Iterator[Block]:
    """Yield a block per batch until there are enough rows."""
    for number, batch in enumerate(loaders.train(0), start=1):
        rows = _class_rows(loaders, batch, visible(batch.images, normalization))
        of = f", {num_rows} of them shown" if len(rows) > num_rows else ""
        title = f"Batch {number} of epoch 1: {len(batch.labels)} images, {len(rows)} classes{of}"
        yield Block(title, rows[:num_rows])
        num_rows -= len(rows)
        if num_rows <= 0:
            return


def _class_rows(
    loaders: Loaders, batch: ImageBatch, pixels: NDArray[np.uint8]
) -> tuple[ClassRow, ...]:
    """Return the classes of a batch in the order in which they first occur in it."""
    tiles: dict[int, list[Tile]] = {}
    for label, position, image in zip(
        batch.labels.tolist(), batch.sample_index.tolist(), pixels, strict=True
    ):
        row = int(loaders.split.train[position])
        tiles.setdefault(label, []).append(Tile(image, _image_name(loaders, row)))
    return tuple(_class_row(loaders, label, found) for label, found in tiles.items())


def _class_row(loaders: Loaders, label: int, tiles: Sequence[Tile]) -> ClassRow:
    class_id = int(loaders.training.class_ids[label])
    count = int(np.count_nonzero(loaders.training.labels == label))
    name = loaders.table.class_names.get(class_id, f"class {class_id}")
    about = f"class {class_id}, {count} training images, {len(tiles)} in this batch"
    return ClassRow(name, about, tuple(tiles))


def _image_name(loaders: Loaders, row: int) -> str:
    table = loaders.table
    if table.paths is None:
        return f"id {table.sample_id[row]}"
    return PurePosixPath(table.paths[row]).name


# --- the legend --------------------------------------------------------------------------------


def _legend(feed: Feed, loaders: Loaders, *, size: tuple[int, int]) -> list[str]:
    num_images, num_classes = len(loaders.split.train), len(loaders.training.class_ids)
    data = _with_params(feed.dataset, exclude_defaults=True)
    sampler = _with_params(feed.sampler)
    steps = ", ".join(map(_step_words, feed.protocol.transforms.train)) or "none"
    pixels = f"{size[0]} x {size[1]}, {_pixel_words(_preprocessing(feed))}"
    return [
        f"Data: {data}, fold {feed.fold}: {num_images:,} images of {num_classes:,} classes train.",
        f"Batches: {sampler}, {feed.protocol.training.batch_size} images; seed {feed.seed}.",
        f"Training transforms: {steps}.",
        f"Input of {feed.backbone.card.name}: {pixels}; drawn before mean and standard deviation.",
    ]


def _preprocessing(feed: Feed) -> Preprocessing:
    card = feed.backbone.card
    assert isinstance(card, BackboneSpec), card
    return card.preprocessing


def _with_params(chosen: Chosen, *, exclude_defaults: bool = False) -> str:
    values = chosen.params.model_dump(exclude_defaults=exclude_defaults)
    text = ", ".join(f"{name} {_words(value)}" for name, value in values.items())
    return f"{chosen.card.name} ({text})" if text else chosen.card.name


def _step_words(step: TransformStep) -> str:
    values = step.model_dump(exclude={"step", "size"})
    if values.get("interpolation") == "bilinear":
        del values["interpolation"]
    given = ", ".join(f"{name} {_words(value)}" for name, value in values.items())
    name = step.step.replace("_", " ")
    sized = f"{name} {size}" if (size := getattr(step, "size", None)) else name
    return f"{sized} ({given})" if given else sized


def _words(value: object) -> str:
    if isinstance(value, tuple):
        return " to ".join(map(_words, cast("tuple[object, ...]", value)))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _pixel_words(preprocessing: Preprocessing) -> str:
    channels = "one grey channel" if preprocessing.channels == "gray" else preprocessing.channels
    mean, std = (
        ", ".join(f"{value:g}" for value in values)
        for values in (preprocessing.mean, preprocessing.std)
    )
    return f"{channels}, 0 to {preprocessing.value_range:g}, mean {mean}, std {std}"
