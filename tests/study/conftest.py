"""A study whose runs take a fraction of a second, and a plugin that misbehaves in them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[1] / "plugins" / "unruly"
PROTOCOL = """\
schema_version: 1
name: tiny
summary: 48 images, two epochs of three steps.
open: [loss, miner]
dataset: {name: unruly_toys}
split: {scheme: official}
transforms: {train: [{step: horizontal_flip}], eval: []}
backbone: {name: unruly_flat, weights: none}
head: {kind: linear, dim: 8}
sampler: {name: m_per_class, params: {m: 2}}
training:
  batch_size: 8
  epochs: 2
  iterations_per_epoch: 3
  optimizer: {name: Adam, lr: 1.0e-2}
selection: {rule: last}
evaluation: {metrics: [map_at_r, precision_at_1], distance: cosine}
"""

Start = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the protocol and an installed plugin."""
    site = tmp_path / "site"
    shutil.copytree(PLUGIN / "unruly_dml", site / "unruly_dml")
    facts = site / "unruly_dml-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: unruly-dml\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[harness]\nunruly = unruly_dml\n")
    (tmp_path / "protocols").mkdir()
    (tmp_path / "protocols" / "tiny.yaml").write_text(PROTOCOL)
    (tmp_path / "studies").mkdir()
    return tmp_path


@pytest.fixture
def write(folder: Path) -> Callable[[str, str], None]:
    """Write a study of `unruly` that ends in each of the ways named."""

    def go(methods: str, seeds: str) -> None:
        lines = [
            f"  - {{name: {how}, plugins: [unruly], params: {{loss.how: {how}}}}}"
            for how in methods.split()
        ]
        head = "schema_version: 1\nname: small\nsummary: Small.\nprotocols: [tiny]\nmethods:\n"
        text = head + "\n".join(lines) + f"\nseeds: {seeds}\n"
        (folder / "studies" / "small.yaml").write_text(text)

    return go


@pytest.fixture
def start(folder: Path) -> Start:
    """Start a command line in the folder, in a process group of its own."""

    def go(*words: object) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(folder / "site"),
            "HARNESS_LOAD_PLUGINS": "unruly",
            "HARNESS_DEVICE": "cpu",
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.Popen(
            [sys.executable, "-m", "harness", *map(str, words)],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return go


@pytest.fixture
def run(start: Start) -> Run:
    """Run a command line to its end."""

    def go(*words: object) -> subprocess.CompletedProcess[str]:
        process = start(*words)
        output, _ = process.communicate(timeout=600)
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    return go


SEARCH = """\
schema_version: 1
name: small
summary: Small.
protocols: [tuned]
methods:
  - {name: fine, plugins: [unruly], space: {loss.scale: {low: 0.1, high: 10, log: true}}}
  - {name: odd, plugins: [unruly], space: {loss.how: {choices: [fine, raise, nan, exit]}}}
seeds: 0-1
search: {trials: 5, seeds: 1000}
"""


@pytest.fixture
def write_search(folder: Path) -> None:
    """Write a study of two methods that are tuned, one of them by ways to fail."""
    tuned = (
        PROTOCOL.replace("name: tiny", "name: tuned")
        .replace("{scheme: official}", "{scheme: official, folds: 2}")
        .replace("batch_size: 8", "batch_size: 4")
        .replace("{rule: last}", "{rule: best_val, metric: map_at_r}")
    )
    (folder / "protocols" / "tuned.yaml").write_text(tuned)
    (folder / "studies" / "small.yaml").write_text(SEARCH)
