"""The cache of prepared pixels: never other pixels, whatever happens to files and processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from torchvision.transforms import functional as F  # noqa: N812 - its usual name

from harness import protocol
from harness.contracts import SampleTable
from harness.data import cache as caching
from harness.data.cache import CachePlace, PixelCache, Stamp
from harness.data.caches import cache_name, cache_statuses, clear_caches, open_cache
from harness.data.images import PreparedImages
from harness.data.packing import PackedStrings
from harness.data.transforms import Pipeline
from harness.errors import HarnessError
from harness.protocol import Transforms
from harness.specs import Preprocessing
from harness.testing.toys import toy_image

PROTOCOLS = sorted(Path(__file__).parents[2].glob("protocols/*.yaml"))
RESIZED = Transforms.model_validate({"train": [{"step": "resize", "size": 12}], "eval": []}).train
STAMP = Stamp(0, 0)


def photos(folder: Path, count: int, *, size: tuple[int, int] = (30, 24)) -> SampleTable:
    folder.mkdir(exist_ok=True)
    paths = [f"{index:03d}.jpg" for index in range(count)]
    for index, path in enumerate(paths):
        image = toy_image(index, index, size=size)
        (image.convert("L") if index % 3 == 2 else image).save(folder / path)
    ids = np.arange(count)
    return SampleTable("photos", sample_id=ids, label=ids, root=folder, paths=paths)


def prepared(table: SampleTable, place: CachePlace | None) -> PreparedImages:
    pipeline = Pipeline.of(RESIZED, Preprocessing())
    return PreparedImages(table, pipeline, cache=open_cache(table, pipeline, place))


def pixels(seed: int, shape: tuple[int, ...] = (5, 4, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def place(tmp_path: Path) -> CachePlace:
    return CachePlace(tmp_path / "cache", 2**24)


@pytest.mark.parametrize("path", PROTOCOLS, ids=lambda path: path.stem)
@pytest.mark.parametrize("part", ["train", "eval"])
def test_a_cached_image_ends_as_in_the_whole_pipeline(path, part, tmp_path, place):
    table = photos(tmp_path / "photos", 3, size=(330, 290))
    steps = getattr(protocol.load(path).transforms, part)
    card = Preprocessing("bgr", 255.0, mean=(104.0, 117.0, 128.0), std=(1.0, 2.0, 1.0))
    pipeline = Pipeline.of(steps, card)
    images = PreparedImages(table, pipeline, cache=open_cache(table, pipeline, place))

    for row in (0, 1, 2, 0, 1, 2):
        tensor = pipeline.tensors([pipeline.finish(images[row], Random(row))])[0]

        rng = Random(row)
        image = toy_image_of(table, row)
        for step in pipeline.steps:
            image = step.apply(image, step.draw(rng, image.size))
        planes = F.pil_to_tensor(image).float().flip(0)
        expected = (planes - torch.tensor(card.mean).view(3, 1, 1)) / torch.tensor(card.std).view(
            3, 1, 1
        )
        assert torch.equal(tensor, expected)


def toy_image_of(table: SampleTable, row: int):
    from PIL import Image

    with Image.open(table.root / table.paths[row]) as image:
        return image.convert("RGB")


def test_pixels_come_back_in_another_process_and_are_not_made_again(tmp_path, place):
    table = photos(tmp_path / "photos", 4)
    before = [prepared(table, place)[row].copy() for row in range(4)]

    cache = open_cache(table, Pipeline.of(RESIZED, Preprocessing()), place)
    kept = [cache.get(row, table.root / path) for row, path in enumerate(table.paths)]

    assert all(np.array_equal(*pair) for pair in zip(kept, before, strict=True))


def test_another_file_of_equal_size_and_time_is_read(tmp_path, place):
    table = photos(tmp_path / "photos", 1)
    prepared(table, place)[0]
    file = table.root / table.paths[0]
    stat = file.stat()
    file.write_bytes(b"\0" * stat.st_size)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    with pytest.raises(HarnessError, match=r"000\.jpg is not an image"):
        prepared(table, place)[0]


def test_a_file_that_changed_is_read_again(tmp_path, place):
    table = photos(tmp_path / "photos", 2)
    before = prepared(table, place)[0].copy()
    toy_image(9, 9, size=(30, 24)).save(table.root / "000.jpg")

    after = prepared(table, place)[0]

    assert np.array_equal(after, prepared(table, None)[0])
    assert not np.array_equal(after, before)


def test_a_file_that_is_gone_is_missing_however_much_is_kept(tmp_path, place):
    table = photos(tmp_path / "photos", 2)
    prepared(table, place)[0]
    (table.root / "000.jpg").unlink()

    with pytest.raises(HarnessError, match=r"000\.jpg is missing"):
        prepared(table, place)[0]


@pytest.mark.parametrize("place_of_damage", ["pixels", "index"])
def test_damaged_bytes_are_noticed_and_replaced(place_of_damage, place):
    PixelCache(place, "a", 3).put(1, pixels(1), STAMP)
    file = place.folder / "a" / place_of_damage
    content = bytearray(file.read_bytes())
    content[-1 if place_of_damage == "pixels" else caching.RECORD.itemsize + 8] ^= 1
    file.write_bytes(bytes(content))

    cache = PixelCache(place, "a", 3)
    found = cache.get(1, None)
    cache.put(1, pixels(1), STAMP)

    assert found is None
    assert np.array_equal(PixelCache(place, "a", 3).get(1, None), pixels(1))


@pytest.mark.parametrize("kept", [0, 1, 59])
def test_pixels_cut_short_do_not_count(kept, place):
    PixelCache(place, "a", 1).put(0, pixels(1), STAMP)
    os.truncate(place.folder / "a" / "pixels", kept)

    assert PixelCache(place, "a", 1).get(0, None) is None


def test_bytes_nobody_points_to_do_no_harm(place):
    PixelCache(place, "a", 2).put(0, pixels(1), STAMP)
    with (place.folder / "a" / "pixels").open("ab") as file:
        file.write(b"killed while writing")

    PixelCache(place, "a", 2).put(1, pixels(2, (3, 7)), STAMP)

    cache = PixelCache(place, "a", 2)
    assert np.array_equal(cache.get(0, None), pixels(1))
    assert np.array_equal(cache.get(1, None), pixels(2, (3, 7)))


WRITER = """
import sys
from pathlib import Path
import numpy as np
from harness.data.cache import CachePlace, PixelCache, Stamp

cache = PixelCache(CachePlace(Path(sys.argv[1]), 2**30), "a", 4000)
print("ready", flush=True)
for row in range(4000):
    if cache.get(row, None) is None:
        cache.put(row, np.full((9, 11, 3), row % 251, np.uint8), Stamp(0, 0))
"""


def start_writer(place: CachePlace) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(place.folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def wrong_rows(place: CachePlace) -> tuple[int, int]:
    """Return how many rows are kept, and how many of them have wrong pixels."""
    cache = PixelCache(place, "a", 4000)
    found = {row: cache.get(row, None) for row in range(4000) if cache.has(row)}
    wrong = [row for row, kept in found.items() if kept is None or (kept != row % 251).any()]
    return len(found), len(wrong)


def test_two_processes_fill_one_cache_without_writing_twice(place):
    writers = [start_writer(place) for _ in range(2)]

    codes = [writer.wait(60) for writer in writers]

    assert codes == [0, 0]
    assert wrong_rows(place) == (4000, 0)
    assert (place.folder / "a" / "pixels").stat().st_size == 4000 * 9 * 11 * 3


def test_a_writer_killed_at_any_moment_leaves_what_it_had_and_another_goes_on(place):
    kept = 0
    for milliseconds in (5, 20, 50):
        writer = start_writer(place)
        time.sleep(milliseconds / 1000)
        writer.send_signal(signal.SIGKILL)
        writer.wait(60)
        now, wrong = wrong_rows(place)
        assert wrong == 0
        assert now >= kept
        kept = now

    assert start_writer(place).wait(60) == 0
    assert wrong_rows(place) == (4000, 0)


def test_the_cap_counts_all_caches_of_a_folder(place, caplog):
    small = CachePlace(place.folder, 150)
    first, second = PixelCache(small, "a", 3), PixelCache(small, "b", 3)

    kept = [first.put(0, pixels(0), STAMP), second.put(0, pixels(1), STAMP)]
    refused = [second.put(1, pixels(2), STAMP), second.put(2, pixels(3), STAMP)]

    assert (kept, refused) == ([True, True], [False, False])
    assert sum("is full" in record.message for record in caplog.records) == 1
    assert np.array_equal(second.get(0, None), pixels(1))
    assert second.get(1, None) is None


def test_a_full_disk_ends_keeping_and_nothing_else(place, caplog):
    import resource

    cache = PixelCache(place, "a", 2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        kept = cache.put(0, pixels(0, (20, 20)), STAMP)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)

    assert not kept
    assert "cannot be written" in caplog.text
    assert cache.get(0, None) is None


def test_a_folder_that_cannot_be_written_is_no_reason_to_stop(tmp_path, caplog):
    table = photos(tmp_path / "photos", 1)
    (tmp_path / "file").write_text("in the way")

    images = prepared(table, CachePlace(tmp_path / "file", 2**20))

    assert np.array_equal(images[0], prepared(table, None)[0])
    assert "no cache in" in caplog.text


def test_what_changes_pixels_changes_the_name(tmp_path):
    table = photos(tmp_path / "photos", 3)
    larger = Transforms.model_validate(
        {"train": [{"step": "resize", "size": 13}, {"step": "horizontal_flip"}], "eval": []}
    ).train
    base = Pipeline.of(RESIZED, Preprocessing())
    random = Transforms.model_validate(
        {"train": [*map(dict, RESIZED), {"step": "horizontal_flip"}], "eval": []}
    ).train

    name = cache_name(table, base)

    assert cache_name(table, Pipeline.of(random, Preprocessing("bgr"))) == name
    gray = Preprocessing("gray", mean=(0.5,), std=(0.5,))
    others = {
        cache_name(table, Pipeline.of(larger, Preprocessing())),
        cache_name(table, Pipeline.of(RESIZED, gray)),
        cache_name(replace(table, paths=table.paths[::-1]), base),
        cache_name(replace(table, root=tmp_path), base),
    }
    assert len(others - {name}) == 4


def test_a_cache_that_cannot_be_deleted_is_named(tmp_path, place, monkeypatch):
    prepared(photos(tmp_path / "photos", 2), place)[0]

    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("harness.data.caches.shutil.rmtree", denied)

    with pytest.raises(HarnessError, match=r"cannot delete cache .*: Permission denied"):
        clear_caches(place.folder)


def test_status_counts_and_clear_removes_one_data_set(tmp_path, place):
    table = photos(tmp_path / "photos", 3)
    other = replace(table, name="others")
    images, others = prepared(table, place), prepared(other, place)
    size = sum(images[row].nbytes for row in (0, 2))
    others[1]

    first, second = cache_statuses(place.folder)
    gone = clear_caches(place.folder, dataset="photos")

    assert (second.dataset, second.kept, second.rows, second.bytes) == ("photos", 2, 3, size)
    assert "Resize(side=12" in second.steps
    assert gone == [second]
    assert cache_statuses(place.folder) == [first]
    assert np.array_equal(images[0], prepared(table, None)[0])  # who uses it goes on


def test_packed_strings_are_the_strings():
    strings = ["", "a/b.jpg", "ü/\udcff", "a/b.jpg"]

    packed = PackedStrings.of(strings)

    assert list(packed) == strings
    assert packed[-1] == strings[-1]
    assert list(packed[1:3]) == strings[1:3]
    with pytest.raises(IndexError):
        packed[4]
