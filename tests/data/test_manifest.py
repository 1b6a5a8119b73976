from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.contracts import SampleTable
from harness.data.manifest import NAME, manifest_digest, with_content
from harness.errors import HarnessError
from harness.testing.toys import toy_table


def shuffled(table: SampleTable, order: np.ndarray) -> SampleTable:
    assert table.images is not None
    return replace(
        table,
        sample_id=table.sample_id[order],
        label=table.label[order],
        images=table.images[order],
    )


def test_the_manifest_digest_does_not_depend_on_the_order_of_rows():
    table = toy_table(num_classes=3)

    digest = manifest_digest(shuffled(table, np.random.default_rng(0).permutation(len(table))))

    assert digest == manifest_digest(table)


def test_the_manifest_digest_changes_with_labels_parts_and_pixels():
    table = toy_table(num_classes=3)
    pixels = table.images.copy()
    pixels[0, 0, 0] ^= 1
    changed = [
        replace(table, label=table.label + 1),
        replace(table, part=np.array(["train"] * len(table))),
        replace(table, images=pixels),
        replace(table, sample_id=table.sample_id + 1),
        replace(table, images=table.images.reshape(len(table), 4, 16)),
    ]

    digests = {manifest_digest(one) for one in [table, *changed]}

    assert len(digests) == 6


def tree(folder: Path, *, seed: int = 0, files: int = 40) -> SampleTable:
    """Write small files and return the table of them."""
    paths = [f"{number % 4}/{number:03d}.jpg" for number in range(files)]
    for number, path in enumerate(paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(np.random.default_rng([seed, number]).bytes(100))
    return SampleTable(
        name="tree",
        sample_id=np.arange(files, dtype=np.int64),
        label=np.arange(files, dtype=np.int64) % 4,
        root=folder,
        paths=paths,
    )


def test_the_content_of_a_table_is_the_sha256_of_each_file(tmp_path):
    table = tree(tmp_path)

    content = with_content(table).content

    expected = [hashlib.sha256((tmp_path / path).read_bytes()).digest() for path in table.paths]
    assert [row.tobytes() for row in content] == expected


def test_images_in_memory_need_no_reading():
    table = toy_table()

    assert with_content(table) is table


def test_copies_are_equal_wherever_they_lie_and_whatever_their_files_are_called(tmp_path):
    first, second = tree(tmp_path / "a"), tree(tmp_path / "b")
    (tmp_path / "b" / "0").rename(tmp_path / "b" / "zero")
    renamed = [path.replace("0/", "zero/", 1) if path[0] == "0" else path for path in second.paths]

    digest = manifest_digest(replace(second, paths=renamed))

    assert digest == manifest_digest(first)


def test_one_other_byte_is_another_data_set(tmp_path):
    table = tree(tmp_path)
    before = manifest_digest(table)
    path = tmp_path / table.paths[7]
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])

    assert manifest_digest(table) != before


def test_digests_are_remembered_in_a_table_that_people_can_read(tmp_path):
    table = tree(tmp_path)

    with_content(table)

    header, first, *rest = (tmp_path / NAME).read_text().splitlines()
    assert header.split("\t") == ["# sha256", "size", "mtime_ns", "ctime_ns", "class", "path"]
    digest, size, _, _, label, path = first.split("\t")
    assert (size, label, path) == ("100", "0", "0/000.jpg")
    assert digest == hashlib.sha256((tmp_path / path).read_bytes()).hexdigest()
    assert len(rest) == 39


def forge(folder: Path) -> None:
    """Let every remembered digest be all nines."""
    header, *lines = (folder / NAME).read_text().splitlines()
    forged = ["9" * 64 + line[64:] for line in lines]
    (folder / NAME).write_text("\n".join([header, *forged, ""]))


def test_a_file_that_looks_unchanged_is_not_read_again(tmp_path):
    table = tree(tmp_path)
    with_content(table)
    forge(tmp_path)

    content = with_content(table).content

    assert np.all(content == 0x99)


def test_verifying_reads_again_and_corrects_what_is_remembered(tmp_path):
    table = tree(tmp_path)
    honest = with_content(table).content
    forge(tmp_path)

    assert np.array_equal(with_content(table, trust=False).content, honest)
    assert np.array_equal(with_content(table).content, honest)


@pytest.mark.parametrize("keep_time", [False, True], ids=["new-time", "time-set-back"])
def test_a_file_that_was_replaced_is_read_again(tmp_path, keep_time):
    table = tree(tmp_path)
    before = with_content(table).content
    file = tmp_path / table.paths[3]
    stat = file.stat()
    file.write_bytes(bytes(100))
    if keep_time:
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    after = with_content(table).content

    changed = np.flatnonzero((before != after).any(axis=1))
    assert changed.tolist() == [3]
    assert after[3].tobytes() == hashlib.sha256(bytes(100)).digest()


@pytest.mark.parametrize(
    "rubbish", [b"", b"no table", b"\xff\xfe", b"zz\t1\t2\t3\t4\t0/000.jpg\n"]
)
def test_a_damaged_memory_is_left_aside(tmp_path, rubbish):
    table = tree(tmp_path)
    honest = with_content(table).content
    (tmp_path / NAME).write_bytes(rubbish)

    assert np.array_equal(with_content(table).content, honest)


def test_two_tables_of_one_folder_share_what_is_remembered(tmp_path):
    table = tree(tmp_path)
    rows = np.arange(10)
    part = replace(
        table, sample_id=table.sample_id[rows], label=table.label[rows], paths=table.paths[:10]
    )

    for one in (table, part):
        with_content(one)

    assert len((tmp_path / NAME).read_text().splitlines()) == 41


def test_names_that_are_no_text_are_hashed_as_well(tmp_path):
    table = tree(tmp_path, files=2)
    odd = [os.fsdecode(b"0/\xff.jpg"), "1/with\nbreak.jpg"]
    for old, new in zip(table.paths, odd, strict=True):
        (tmp_path / old).rename(tmp_path / new)

    content = [with_content(replace(table, paths=odd)).content for _ in range(2)]

    assert np.array_equal(*content)
    assert np.array_equal(content[0], with_content(tree(tmp_path / "again", files=2)).content)


def test_a_folder_that_may_not_be_written_is_remembered_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    table = tree(tmp_path / "data")
    (tmp_path / "data" / NAME).mkdir()  # even root cannot put a file there

    with_content(table)

    (file,) = (tmp_path / "cache" / "harness" / "manifests").iterdir()
    assert len(file.read_text().splitlines()) == 41
    assert [path.name for path in (tmp_path / "data").iterdir() if path.name.endswith("tmp")] == []


def test_a_missing_file_is_named(tmp_path):
    table = tree(tmp_path)
    (tmp_path / table.paths[5]).unlink()

    with pytest.raises(HarnessError, match=f"image {tmp_path}/1/005.jpg cannot be read: No such"):
        with_content(table)


def test_progress_ends_at_the_number_of_images(tmp_path):
    told: list[tuple[int, int]] = []

    with_content(tree(tmp_path), progress=lambda *one: told.append(one))

    assert told == [(32, 40), (40, 40)]
