"""A registry and a protocol that nothing else knows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from harness.api import (
    BackboneSpec,
    DatasetSpec,
    LossSpec,
    MetricSpec,
    MinerSpec,
    Params,
    RecipeSpec,
    SamplerSpec,
    WeightFile,
)
from harness.protocol import Protocol, load
from harness.registry import Entry, Origin, Registry

CORE = Origin("core-dml", "1.0", "core", "core_dml")
ACME = Origin("acme-dml", "1.0", "acme", "acme_dml")
RIVAL = Origin("rival-dml", "3.0", "rival", "rival_dml")

PROTOCOL = """\
schema_version: 1
name: small
summary: A small protocol.
open: [loss, miner, training.epochs, training.optimizer.lr]
dataset: {name: toys}
split: {scheme: mlrc, folds: 4, use_folds: 2}
transforms: {train: [], eval: []}
backbone: {name: tiny, weights: none}
head: {dim: 16}
sampler: {name: blocks, params: {m: 4}}
training:
  batch_size: 32
  epochs: 10
  warmup: {epochs: 3}
  optimizer: {name: SGD, lr: 1e-2}
selection: {rule: best_val, metric: map_at_r}
evaluation: {metrics: [precision, recall_at_1]}
seeds: [0, 1]
"""

RECIPE = """\
name: published
summary: Values of a paper.
source: A paper, table 1
method: plain
values:
  loss.tau: 8
  training.epochs: 40
"""


class Plain(Params):
    tau: Annotated[float, Field(gt=0, le=100)] = 32.0
    alpha: Annotated[float, Field(ge=0)] = 0.9
    mode: str = "soft"


class Blocks(Params):
    m: Annotated[int, Field(ge=1)] = 4


class Top(Params):
    k: Annotated[int, Field(ge=1)]


def build(params: object, context: object) -> None:
    raise NotImplementedError


def losses() -> list[LossSpec]:
    return [
        LossSpec(name="plain", summary="Mines nothing", build=build, params=Plain),
        LossSpec(name="pairwise", summary="", build=build, params=Plain, takes=("pairs",)),
        LossSpec(
            name="triplet",
            summary="",
            build=build,
            takes=("triplets",),
            mining_required=True,
            min_per_class=2,
        ),
        LossSpec(name="both", summary="A miner has this name too", build=build, takes=("pairs",)),
    ]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    package = tmp_path / "acme_recipes"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "published.yaml").write_text(RECIPE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "acme_recipes", raising=False)
    recipe = RecipeSpec(
        name="published",
        summary="Values of a paper",
        method="plain",
        package="acme_recipes",
        path="published.yaml",
    )
    weights = {"imagenet": WeightFile(url="https://example.org/w.pth", sha256="00")}
    core = [
        SamplerSpec(name="blocks", summary="", build=build, params=Blocks),
        SamplerSpec(name="shuffle", summary="", build=build),
        BackboneSpec(name="tiny", summary="", build=build, features=8, weights=weights),
        DatasetSpec(name="toys", summary="", build=build),
        MetricSpec(name="map_at_r", summary="", build=build),
        MetricSpec(name="precision", summary="", build=build),
        MetricSpec(name="recall_at_k", summary="", build=build, params=Top),
    ]
    acme = [
        *losses(),
        MinerSpec(name="all_pairs", summary="", build=build, gives="pairs"),
        MinerSpec(name="all_triplets", summary="", build=build, gives="triplets"),
        MinerSpec(name="both", summary="", build=build, gives="pairs"),
        recipe,
    ]
    rival = [LossSpec(name="pairwise", summary="", build=build)]
    return Registry(
        plugins=(),
        cards=(
            *(Entry(card, CORE) for card in core),
            *(Entry(card, ACME) for card in acme),
            *(Entry(card, RIVAL) for card in rival),
        ),
    )


@pytest.fixture
def small(tmp_path: Path) -> Protocol:
    file = tmp_path / "small.yaml"
    file.write_text(PROTOCOL)
    return load(file)
