"""`harness data cache`: built, shown, used by a run, and cleared."""

import json
from pathlib import Path

import pytest

from harness.testing.toys import toy_image

PROTOCOL = """
schema_version: 1
name: small
version: 1
summary: Six images of two training and two test classes.
open: [loss]
dataset: {name: folder, params: {path: photos}}
split: {scheme: half_classes, folds: 0}
transforms:
  train:
    - {step: resize, size: 20}
    - {step: random_resized_crop, size: 16}
  eval:
    - {step: resize, size: 20}
    - {step: center_crop, size: 16}
backbone: {name: resnet18, weights: none}
head: {kind: linear, dim: 8}
sampler: {name: m_per_class, params: {m: 2}}
training:
  batch_size: 4
  epochs: 1
  iterations_per_epoch: 2
  optimizer: {name: Adam, lr: 0.001}
selection: {rule: last}
evaluation: {metrics: [map_at_r], distance: cosine}
"""


@pytest.fixture
def small(harness, tmp_path: Path):
    """A command line in a folder with a protocol and its twelve images, three per class."""
    (tmp_path / "small.yaml").write_text(PROTOCOL)
    for label in range(4):
        folder = tmp_path / "data" / "photos" / f"class{label}"
        folder.mkdir(parents=True)
        for index in range(3):
            toy_image(label, index, size=(30, 24)).save(folder / f"{index}.jpg")
    return harness


def statuses(harness) -> list[dict[str, object]]:
    lines = harness("data", "cache", "status", "--json").out.splitlines()
    return [json.loads(line) for line in lines]


def test_a_build_says_how_much_and_keeps_every_image_of_the_protocol(small):
    asked = small("data", "cache", "build", "small.yaml", "--dry-run")
    built = small("data", "cache", "build", "small.yaml", "--workers", 2)
    again = small("data", "cache", "build", "small.yaml")

    assert asked.code == built.code == again.code == 0, built.err
    assert "6 images to prepare, about 8.8 KiB; 0 kept already" in asked.out  # 25 x 20 x 3 bytes
    assert "6 images to prepare, about 4.5 KiB; 0 kept already" in asked.out  # 16 x 16 x 3 bytes
    assert again.out.count("0 images to prepare, about 0.0 KiB; 6 kept already") == 2
    assert sorted((one["kept"], one["bytes"]) for one in statuses(small)) == [
        (6, 6 * 16 * 16 * 3),
        (6, 6 * 25 * 20 * 3),
    ]


def test_a_run_fills_the_cache_and_without_one_ends_with_the_same_numbers(small):
    run = ("run", "small.yaml", "--plugin", "contrastive")
    plain = small(*run, "--store", "plain", "--no-cache", "--workers", 0)
    before = statuses(small)
    kept = small(*run, "--store", "kept", "--workers", 1)

    assert plain.code == kept.code == 0, plain.err + kept.err
    assert before == []
    assert [one["kept"] for one in statuses(small)] == [6, 6]
    select = "SELECT part, epoch, name, value FROM metrics ORDER BY ALL"
    first, second = (
        small("query", select, "--format", "csv", "--store", store) for store in ("plain", "kept")
    )
    assert first.out.count("map_at_r") >= 1
    assert first.out == second.out


def test_a_build_keeps_what_a_run_of_the_same_options_reads(small):
    options = ("--deviate", "transforms.eval=[{step: resize, size: 16}]")
    built = small("data", "cache", "build", "small.yaml", *options)
    before = statuses(small)

    run = small("run", "small.yaml", "--plugin", "contrastive", *options, "--workers", 0)

    assert (built.code, run.code) == (0, 3), built.err + run.err
    assert len(before) == 2
    assert "Resize(side=16" in built.out
    assert statuses(small) == before


def test_a_build_says_what_there_is_no_room_for_and_stops(small):
    wide = ("--deviate", "transforms.train=[{step: resize, size: 400}]")

    ended = small("data", "cache", "build", "small.yaml", *wide, "--cache-cap", "1MiB")

    assert ended.code == 0
    assert "to keep, room for 1.0 MiB" in ended.err
    assert "5 images of decode, Resize(side=400" in ended.err
    assert "are not kept: the others are prepared each time they are used" in ended.err


def test_a_build_into_a_folder_that_takes_nothing_is_refused(small, tmp_path):
    (tmp_path / "file").touch()

    ended = small("data", "cache", "build", "small.yaml", "--cache", "file")

    assert ended.code == 2
    assert "nothing can be kept in file: File exists" in ended.err
    assert "--cache" in ended.err


def test_a_status_without_caches_says_where_it_looked(small):
    assert small("data", "cache", "status") == (0, "", "no prepared pixels in data/.cache\n")


def test_clear_names_what_it_frees_and_refuses_a_name_it_does_not_know(small):
    small("data", "cache", "build", "small.yaml")

    wrong = small("data", "cache", "clear", "birds")
    cleared = small("data", "cache", "clear")

    assert wrong.code == 2
    assert "no cache of data set 'birds'" in wrong.err
    assert "2 caches deleted, 13.3 KiB freed" in cleared.out
    assert statuses(small) == []


def test_images_in_memory_need_no_cache(harness):
    built = harness("data", "cache", "build", "protocols/digits.yaml")

    assert built.code == 0
    assert "data set 'digits' is in memory as a whole: nothing to cache" in built.out


def test_what_another_pillow_prepared_is_stale_and_can_be_cleared_alone(small, tmp_path):
    small("data", "cache", "build", "small.yaml")
    first, second = (Path(one["cache"]) for one in statuses(small))
    about = tmp_path / "data" / ".cache" / first / "about.json"
    about.write_text(about.read_text().replace('"pillow": "', '"pillow": "0.'))

    shown = small("data", "cache", "status")
    cleared = small("data", "cache", "clear", "--stale")

    assert [line.split().count("stale") for line in shown.out.splitlines()[-2:]] == [1, 0]
    assert "1 caches deleted" in cleared.out
    assert [(one["cache"], one["stale"]) for one in statuses(small)] == [(str(second), False)]
