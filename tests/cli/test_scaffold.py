"""What `harness plugin new` writes works before the first edit."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from harness.cli.scaffold import STARTS

NAMES = {"loss": "brand_new_loss", "miner": "brand_new_miner", "sampler": "brand_new_sampler"}


@pytest.fixture
def started(harness, install_from, tmp_path):
    """One package of each kind, installed."""
    folders = []
    for kind, name in NAMES.items():
        ended = harness("plugin", "new", kind, name, "--dir", "started")
        assert ended.code == 0, ended.err
        folders.append(tmp_path / "started" / name.replace("_", "-"))
        install_from(folders[-1])
    return folders


def test_every_kind_that_can_be_started_is_tested_here():
    assert set(NAMES) == set(STARTS)


def test_new_packages_pass_every_check_and_their_own_tests(harness, started):
    for kind, name in NAMES.items():
        ended = harness("plugin", "check", name, "--json")
        assert ended.code == 0, ended.out
        (record,) = map(json.loads, ended.out.splitlines())
        assert (record["kind"], record["distribution"]) == (kind, name.replace("_", "-"))
        assert record["passed"] > 5

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, started)],
        cwd=started[0].parent,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "7 passed" in done.stdout


@pytest.mark.parametrize("kind", STARTS)
def test_new_packages_are_clean_for_a_linter(harness, tmp_path, kind):
    name = f"brand_new_{kind}"
    harness("plugin", "new", kind, name)

    for words in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *words, "--isolated", "--line-length", "99", "."]
        done = subprocess.run(
            command,
            cwd=tmp_path / name.replace("_", "-"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_new_says_what_it_wrote_and_what_to_type(harness, tmp_path):
    ended = harness("plugin", "new", "loss", "brand_new")

    written = {Path(line) for line in ended.out.split("\n\n")[0].splitlines()}
    assert {path for path in (tmp_path / "brand-new").rglob("*") if path.is_file()} == {
        tmp_path / path for path in written
    }
    assert "pip install -e brand-new\nharness plugin check brand_new\n" in ended.out
    project = tomllib.loads((tmp_path / "brand-new" / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["harness"] == {"brand_new": "brand_new"}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["los", "brand_new"], "did you mean 'loss'"),
        (["metric", "brand_new"], "one of loss, miner, sampler"),
        (["loss", "Brand-New"], "is no name for a component"),
        (["loss", "lambda"], "is no name for a component"),
        (["loss", "random"], "there is a package 'random' already"),
        (["loss", "torch"], "there is a package 'torch' already"),
        (["loss", "taken"], "taken exists"),
    ],
)
def test_what_cannot_be_started_is_refused_and_nothing_written(harness, tmp_path, words, problem):
    (tmp_path / "taken").mkdir()

    ended = harness("plugin", "new", *words)

    assert ended.code == 2
    assert problem in ended.err
    assert [path.name for path in tmp_path.iterdir() if path.name != "protocols"] == ["taken"]
