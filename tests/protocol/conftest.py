from __future__ import annotations

from pathlib import Path

import pytest

from harness.protocol import Protocol, load

TEXT = """\
schema_version: 1
name: small
summary: A small protocol.   # comments count for nothing
open: [loss, miner, training.epochs]
dataset: {name: toys}
split: {scheme: mlrc, folds: 4}
transforms:
  train: [{step: resize, size: 32}, {step: horizontal_flip}]
  eval: [{step: resize, size: 32}]
backbone: {name: tiny, weights: none}
head: {dim: 16}
sampler: {name: blocks, params: {m: 4}}
training:
  batch_size: 32
  epochs: 10
  optimizer: {name: SGD, lr: 1e-2, options: {momentum: 0.9}}
  schedule: {every: 5, gamma: 0.5}
selection: {rule: best_val, metric: map_at_r}
evaluation: {metrics: [map_at_r, recall_at_1]}
seeds: [0, 1]
"""


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(TEXT)
    return file


@pytest.fixture
def small(small_file: Path) -> Protocol:
    return load(small_file)
