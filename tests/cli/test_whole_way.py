"""From a server to a row: fetch, verify, cache, look, run, as a person types it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import harness_datasets
import pytest

from harness.testing.site import Fault, Site, serving
from harness.testing.toys import CUB_COUNTS, write_cub, write_omniglot

pytestmark = pytest.mark.slow
QUICK = ("--deviate", "backbone.name=resnet18", "--deviate", "training.batch_size=8")


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as running:
        yield running


@pytest.fixture
def serve(site: Site, monkeypatch: pytest.MonkeyPatch):
    """Let the files of a data set come from a server that cuts the first connection of each."""

    def serve(constant: str, contents: dict[str, bytes]) -> None:
        card = getattr(harness_datasets, constant)
        files = tuple(
            replace(
                file,
                urls=(
                    f"{site.address}/gone",
                    site.put(
                        file.name,
                        contents[file.name],
                        Fault(cut_after=len(contents[file.name]) // 2, times=1),
                    ),
                ),
                size=len(contents[file.name]),
                md5=hashlib.md5(contents[file.name], usedforsecurity=False).hexdigest(),
                sha256="",
            )
            for file in card.files
        )
        monkeypatch.setattr(harness_datasets, constant, replace(card, files=files))

    return serve


def test_cub_goes_the_whole_way_and_a_damaged_image_is_named_on_it(harness, serve, site, tmp_path):
    serve("CUB200", {"CUB_200_2011.tgz": packed(write_cub(tmp_path / "source"))})

    fetched = harness("data", "fetch", "cub200")
    verified = harness("data", "verify", "cub200", "--json")
    sheet = harness("data", "sample", "mlrc_cub", "-o", "cub.png")
    ran = harness("run", "mlrc_cub", "--plugin", "hist", "--smoke", "--workers", 2, *QUICK)
    kept = harness("data", "cache", "status")

    assert fetched.code == 0, fetched.err
    assert [one.range is not None for one in site.asked if one.name.endswith(".tgz")] == [
        False,
        True,
    ]
    report = json.loads(verified.out)
    assert verified.code == 1  # 400 images, and the official copy has 11,788
    assert [part["images"] for part in report["parts"]] == [200, 200]
    assert all("official copy" in problem for problem in report["problems"])
    assert sheet.code == 0, sheet.err
    assert ran.code == 3, ran.err  # a deviation, and otherwise well
    assert kept.out.count("cub200") == 2  # training and evaluation pipelines

    broken = next((tmp_path / "data/cub200/CUB_200_2011/images").glob("001.*/*.jpg"))
    broken.write_bytes(broken.read_bytes()[:300])
    problems = json.loads(harness("data", "verify", "cub200", "--json").out)["problems"]

    assert [str(broken.name) in problem for problem in problems].count(True) == 1


def test_a_cub_of_the_published_size_is_the_official_copy(harness, serve, tmp_path):
    copy = write_cub(tmp_path / "source", images_per_class=CUB_COUNTS, size=(40, 32))
    serve("CUB200", {"CUB_200_2011.tgz": packed(copy)})
    small = (
        *("--deviate", "transforms.train=[{step: resize, size: 24}]"),
        *(
            "--deviate",
            "transforms.eval=[{step: resize, size: 20}, {step: center_crop, size: 9}]",
        ),
    )

    fetched = harness("data", "fetch", "cub200")
    verified = harness("data", "verify", "cub200")
    built = harness("data", "cache", "build", "mlrc_cub", *small)
    kept = harness("data", "cache", "status", "--json")

    assert [one.code for one in (fetched, verified, built)] == [0, 0, 0], built.err
    lines = [line.split() for line in verified.out.splitlines()]
    assert lines[2:4] == [["train", "5864", "100"], ["test", "5924", "100"]]
    assert "all images can be read, as the official copy has them" in verified.out
    caches = [json.loads(line) for line in kept.out.splitlines()]
    assert sorted(one["kept"] for one in caches) == [5_864, 11_788]


def test_omniglot_goes_the_whole_way(harness, serve, tmp_path):
    serve("OMNIGLOT", omniglot(tmp_path))

    fetched = harness("data", "fetch", "omniglot")
    verified = harness("data", "verify", "omniglot", "--json")
    ran = harness("run", "omniglot", "--plugin", "hist", "--smoke")

    assert fetched.code == 0, fetched.err
    assert all("official copy" in one for one in json.loads(verified.out)["problems"])
    assert ran.code == 0, ran.err


def packed(folder: Path) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        archive.add(folder, folder.name)
    return data.getvalue()


def omniglot(folder: Path) -> dict[str, bytes]:
    """Return the two files: the real ones of `HARNESS_OMNIGLOT`, or generated ones."""
    real = os.environ.get("HARNESS_OMNIGLOT")
    base = Path(real) if real else write_omniglot(folder / "source", characters=20, drawings=20)
    return {path.name: path.read_bytes() for path in base.glob("*.zip")}
