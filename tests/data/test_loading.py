"""Loading: batches are a function of (seed, epoch, rows), however they are read."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.contracts import SampleTable
from harness.data.batch_scaling import Cuts
from harness.data.cache import MEMORY, CachePlace
from harness.data.images import PreparedImages
from harness.data.loading import Loaders, make_loaders
from harness.data.reading import BatchReader, ImageBatch, Request
from harness.data.splits import assign
from harness.data.transforms import Pipeline
from harness.data.workers import WorkerPool
from harness.errors import HarnessError
from harness.protocol import SplitRule, Transforms
from harness.specs import Preprocessing
from harness.testing.toys import toy_image, toy_table

HALVES = SplitRule(scheme="half_classes")
RANDOM = Transforms.model_validate(
    {
        "train": [
            {"step": "resize", "size": 20},
            {"step": "random_resized_crop", "size": 16},
            {"step": "horizontal_flip"},
        ],
        "eval": [{"step": "resize", "size": 20}, {"step": "center_crop", "size": 16}],
    }
)


class Listed:
    """A sampler that gives the batches it was given."""

    def __init__(self, *batches: Sequence[int]) -> None:
        self._batches = batches

    def batches(self, epoch: int) -> Iterator[Sequence[int]]:
        yield from self._batches


def loaders_of(
    table: SampleTable,
    *batches: Sequence[int],
    workers: int = 0,
    cache: CachePlace | None = MEMORY,
    seed: int = 5,
    transforms: Transforms = RANDOM,
    preprocessing: Preprocessing | None = None,
    scale_on_device: bool = False,
) -> Loaders:
    return make_loaders(
        table,
        assign(table, HALVES),
        transforms,
        preprocessing or Preprocessing(),
        sampler=Listed(*(batches or ([0, 4, 8, 12], [1, 5, 9, 13, 0]))),
        seed=seed,
        eval_batch_size=3,
        workers=workers,
        cache=cache,
        scale_on_device=scale_on_device,
    )


def equal(first: Sequence[ImageBatch], second: Sequence[ImageBatch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(one.images, two.images)
        and torch.equal(one.labels, two.labels)
        and torch.equal(one.sample_index, two.sample_index)
        for one, two in zip(first, second, strict=True)
    )


@pytest.fixture
def in_memory() -> SampleTable:
    return toy_table(num_classes=8, images_per_class=4, size=(30, 24), grey=False)


@pytest.fixture
def on_disk(tmp_path: Path) -> SampleTable:
    table = toy_table(num_classes=8, images_per_class=4)
    paths = [f"{index:03d}.jpg" for index in range(len(table))]
    for index, path in enumerate(paths):
        image = toy_image(int(table.label[index]), index, size=(30, 24))
        (image.convert("L") if index % 5 == 0 else image).save(tmp_path / path)
    return replace(table, images=None, root=tmp_path, paths=paths)


def test_a_training_batch_has_labels_from_zero_and_rows_of_the_part(in_memory):
    table = replace(in_memory, label=in_memory.label * 10)

    first, second = loaders_of(table).train(0)

    assert first.images.shape == (4, 3, 16, 16)
    assert first.images.dtype == torch.float32
    assert first.labels.tolist() == [0, 1, 2, 3]
    assert first.sample_index.tolist() == [0, 4, 8, 12]
    assert second.labels.tolist() == [0, 1, 2, 3, 0]


def test_evaluation_keeps_the_order_of_rows_and_ends_with_a_short_batch(in_memory):
    rows = np.array([31, 2, 17, 16, 2])

    batches = list(loaders_of(in_memory).evaluate(rows))

    assert [len(batch.labels) for batch in batches] == [3, 2]
    assert torch.cat([b.labels for b in batches]).tolist() == in_memory.label[rows].tolist()
    ids = torch.cat([b.sample_index for b in batches]).tolist()
    assert ids == in_memory.sample_id[rows].tolist()
    assert torch.equal(batches[0].images[1], batches[1].images[1])


@pytest.mark.parametrize("source", ["in_memory", "on_disk"])
def test_workers_do_not_change_a_batch(source, request):
    table = request.getfixturevalue(source)
    rows = np.arange(16, 32)
    alone, together = loaders_of(table, workers=0), loaders_of(table, workers=2)

    pairs = [(list(alone.train(epoch)), list(together.train(epoch))) for epoch in (0, 1, 0)]
    pairs.append((list(alone.evaluate(rows)), list(together.evaluate(rows))))

    assert all(equal(first, second) for first, second in pairs)


def test_an_epoch_left_early_does_not_reach_into_the_next(in_memory):
    together = loaders_of(in_memory, workers=1)
    left = together.train(0)
    next(left)
    left.close()

    batches = list(together.train(1))

    assert equal(batches, list(loaders_of(in_memory).train(1)))


def test_evaluation_workers_wait_for_the_next_evaluation(in_memory):
    before = set(active_children())
    loaders = loaders_of(in_memory, workers=1)
    list(loaders.evaluate(np.arange(6)))
    first = set(active_children()) - before

    list(loaders.evaluate(np.arange(4)))

    assert len(first) == 1
    assert set(active_children()) - before == first


def private_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="workers fork on Linux only")
def test_a_worker_holds_no_copy_of_what_the_main_process_has_free(in_memory):
    def fill() -> list[np.ndarray]:
        return [np.ones(2**21) for _ in range(20)]  # 16 MiB each

    np.empty(3 * 2**20)  # freed: from now on, glibc takes as much from its heap
    blocks = fill()
    last = blocks.pop()  # keeps what lies below it in the heap
    del blocks
    before = set(active_children())
    loaders = loaders_of(in_memory, workers=1)
    batches = loaders.train(0)
    next(batches)

    blocks = fill()

    (worker,) = set(active_children()) - before
    assert private_bytes(worker.pid) < 100 * 2**20
    del blocks, last


def test_workers_hand_over_bytes(in_memory):
    loaders = loaders_of(in_memory)
    rows = np.arange(2)

    batch = loaders.eval_reader.batch(Request(rows, rows, rows, 0, [0, 0]))

    assert batch.pixels.dtype == torch.uint8
    assert batch.pixels.shape == (2, 3, 16, 16)


@pytest.mark.parametrize("cap", [1, 2000, 2**20])
@pytest.mark.parametrize("workers", [0, 1, 2, 4])
def test_neither_a_cache_nor_workers_change_a_batch(cap, workers, on_disk, tmp_path):
    rows = np.arange(16, 32)
    place = CachePlace(tmp_path / "cache", cap)
    loaders = loaders_of(on_disk, cache=place, workers=workers)
    fresh = loaders_of(on_disk, cache=None)

    for epoch in (0, 1, 2):
        assert equal(list(loaders.train(epoch)), list(fresh.train(epoch)))
        assert equal(list(loaders.evaluate(rows)), list(fresh.evaluate(rows)))


GREY = Preprocessing(channels="gray", mean=(0.5,), std=(0.5,))
FLIPPED_LAST = [{"step": "random_crop", "size": 16}, {"step": "horizontal_flip"}]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("preprocessing", [Preprocessing(), GREY], ids=["colour", "grey"])
@pytest.mark.parametrize("train", [RANDOM.train, FLIPPED_LAST], ids=["scaled", "only cut"])
def test_scaling_on_the_device_changes_no_bit(workers, preprocessing, train, on_disk):
    transforms = Transforms.model_validate({"train": train, "eval": RANDOM.eval})
    options = {"transforms": transforms, "preprocessing": preprocessing}
    rows = np.arange(16, 32)
    there = loaders_of(on_disk, workers=workers, scale_on_device=True, **options)
    here = loaders_of(on_disk, **options)

    for epoch in (0, 1):
        assert equal(list(there.train(epoch)), list(here.train(epoch)))
    assert equal(list(there.evaluate(rows)), list(here.evaluate(rows)))


def test_what_is_scaled_on_the_device_travels_as_boxes(in_memory):
    loaders = loaders_of(in_memory, scale_on_device=True)
    rows = np.arange(2)

    batch = loaders.train_reader.batch(Request(rows, rows, rows, 0, [0, 0]))

    assert isinstance(batch.pixels, Cuts)
    assert batch.pixels.pixels.dtype == torch.uint8
    assert batch.pixels.pixels.shape[1:3] == tuple(batch.pixels.boxes.amax(0).tolist())


def test_kept_images_are_not_read_again(on_disk):
    loaders = loaders_of(on_disk)
    before = list(loaders.train(0))
    for file in on_disk.root.iterdir():
        file.unlink()

    after = list(loaders.train(0))

    assert equal(before, after)


def test_no_more_is_kept_than_there_is_room_for(on_disk):
    loaders = loaders_of(
        on_disk, cache=CachePlace(None, 25 * 20 * 3)
    )  # one image after the resize to 25x20
    list(loaders.train(0))
    for file in on_disk.root.iterdir():
        file.unlink()

    with pytest.raises(HarnessError, match=r"004\.jpg is missing"):
        list(loaders.train(0))


def test_augmentation_depends_on_epoch_and_seed_and_not_on_the_batch(in_memory):
    forward = torch.cat([b.images for b in loaders_of(in_memory, [0, 1], [2, 3]).train(4)])
    backward = torch.cat([b.images for b in loaders_of(in_memory, [3, 2, 1, 0]).train(4)])
    later = torch.cat([b.images for b in loaders_of(in_memory, [0, 1], [2, 3]).train(5)])
    other = torch.cat([b.images for b in loaders_of(in_memory, [0, 1], [2, 3], seed=6).train(4)])

    assert torch.equal(forward, backward.flip(0))
    assert not torch.equal(forward, later)
    assert not torch.equal(forward, other)


def test_a_row_used_twice_in_an_epoch_is_augmented_anew(in_memory):
    first, second = loaders_of(in_memory, [0, 0, 1], [0, 2]).train(0)

    views = [first.images[0], first.images[1], second.images[0]]
    assert not torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])
    assert not torch.equal(views[1], views[2])


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_leaves_the_global_stream_alone(workers, in_memory):
    loaders = loaders_of(in_memory, workers=workers)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)

    list(loaders.train(0))
    list(loaders.evaluate(np.arange(4)))

    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"not an image", "004.jpg is not an image, or damaged", id="text"),
        pytest.param(b"", "004.jpg is not an image, or damaged", id="empty"),
        pytest.param("half", "004.jpg cannot be read: .*(?i:truncated)", id="truncated"),
        pytest.param(None, "004.jpg is missing", id="missing"),
    ],
)
def test_an_unreadable_image_is_named(workers, content, message, on_disk):
    file = on_disk.root / "004.jpg"
    whole = file.read_bytes()
    file.unlink()
    if content is not None:
        file.write_bytes(whole[: len(whole) // 2] if content == "half" else content)

    with pytest.raises(HarnessError, match=message) as caught:
        list(loaders_of(on_disk, workers=workers).train(0))

    assert "Traceback" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_image_that_does_not_fit_the_pipeline_is_named(on_disk):
    crop = Transforms.model_validate({"train": [{"step": "random_crop", "size": 90}], "eval": []})

    with pytest.raises(HarnessError, match=r"000.jpg: an image of 30x24 is too small") as caught:
        list(loaders_of(on_disk, transforms=crop).train(0))

    assert "resize" in str(caught.value.hint)


def test_a_reader_can_be_sent_to_a_process_that_is_no_fork(on_disk):
    loaders = loaders_of(on_disk)
    list(loaders.train(0))
    rows = np.arange(3)
    request = Request(rows, rows, rows, 2, [0, 0, 1])

    sent = pickle.loads(pickle.dumps(loaders.train_reader))

    first, second = (
        reader.finished(reader.batch(request), "cpu") for reader in (sent, loaders.train_reader)
    )
    assert equal([first], [second])


class Dying(BatchReader):
    """A reader whose process is gone at the first request, as when memory runs out."""

    def __getitem__(self, request: Request) -> ImageBatch:
        os._exit(1)


def test_a_worker_that_dies_is_an_error_with_a_hint(in_memory):
    images = PreparedImages(in_memory, Pipeline.of(RANDOM.eval, Preprocessing()), cache=None)
    pool = WorkerPool(Dying(images, seed=0), workers=1, pin=False)
    rows = np.arange(2)

    with pytest.raises(HarnessError, match="worker died") as caught:
        list(pool.batches([Request(rows, rows, rows, 0, [0, 0])]))

    assert caught.value.hint == "use fewer workers; --workers 0 uses none"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("row", [16, -1])
def test_a_sampler_that_leaves_the_training_part_is_refused(row, in_memory):
    with pytest.raises(HarnessError, match=f"sampler Listed gave row {row} of 16 rows"):
        list(loaders_of(in_memory, [0, row]).train(0))


def test_an_empty_batch_is_refused(in_memory):
    with pytest.raises(HarnessError, match="empty batch"):
        list(loaders_of(in_memory, []).train(0))
