"""The published settings, typed a second time where a slip would go unnoticed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from harness.recipe import Recipe, load
from harness.registry import discover

RECIPES = {
    (entry.card.method, entry.name): load(entry.card) for entry in discover().entries("recipe")
}


def values_of(method: str, name: str) -> dict[str, Any]:
    return RECIPES[method, name].values


def test_every_run_of_revisiting_training_strategies_is_here():
    by_data = Counter(recipe.protocols for (m, _), recipe in RECIPES.items() if "rdml_" in m)

    assert by_data == {("rdml_cub",): 23, ("rdml_cars",): 23, ("rdml_sop",): 21}
    assert by_data.total() == 67


def rdml() -> list[Recipe]:
    return [recipe for (method, _), recipe in RECIPES.items() if method.startswith("rdml_")]


def test_only_three_criteria_of_rdml_see_embeddings_of_any_length():
    loose = {recipe.method for recipe in rdml() if not recipe.values["head.normalize"]}

    assert loose == {"rdml_npair", "rdml_lifted", "rdml_angular"}


def test_every_batch_of_rdml_is_of_56_classes_and_two_images():
    assert {
        (r.values["sampler.name"], r.values["sampler.m"], "training" in r.values) for r in rdml()
    } == {("rdml_class_random", 2, False)}


@pytest.mark.parametrize(
    ("data", "chances"),
    [
        # contrastive, margin 0.6, margin 1.2, triplet, SNR
        ("cub", (0.4, 0.4, 0.35, 0.4, 0.3)),
        ("cars", (0.35, 0.35, 0.35, 0.35, 0.35)),
        ("sop", (0.15, 0.15, 0.15, 0.15, 0.15)),
    ],
)
def test_chances_of_the_regularised_miner(data: str, chances: tuple[float, ...]):
    names = [
        ("contrastive", "r_contrastive"),
        ("margin", "r_margin_b06"),
        ("margin", "r_margin_b12"),
        ("triplet", "r_triplet_distance"),
        ("snr", "r_snr"),
    ]

    found = [values_of(f"rdml_{loss}", f"{data}_{name}") for loss, name in names]

    assert tuple(values["miner.cp"] for values in found) == chances
    assert {values["miner.name"] for values in found} == {"rdml_rho_distance"}
    assert [v["loss.beta"] for v in found if "loss.beta" in v] == [0.6, 1.2]


def test_settings_of_rdml_that_change_with_the_data_set():
    assert values_of("rdml_histogram", "cub_histogram")["loss.nbins"] == 65
    assert values_of("rdml_histogram", "sop_histogram")["loss.nbins"] == 11
    assert values_of("rdml_softmax", "cars_softmax")["loss.lr"] == 1e-5
    assert values_of("rdml_softmax", "sop_softmax")["loss.lr"] == 2e-3


@pytest.mark.parametrize(
    ("name", "batch", "rate", "every", "gamma", "warm", "pooling"),
    [
        ("cub_bn_inception", 180, 1e-4, 10, 0.5, 1, "avg+max"),
        ("cub_resnet50", 120, 1e-4, 5, 0.5, 5, "avg+max"),
        ("cars_bn_inception", 180, 1e-4, 20, 0.5, 1, "avg+max"),
        ("cars_resnet50", 120, 1e-4, 10, 0.5, 5, "avg+max"),
        ("sop_bn_inception", 180, 6e-4, 20, 0.25, 1, "avg+max"),
        ("inshop_bn_inception", 180, 6e-4, 20, 0.25, 1, "avg+max"),
    ],
)
def test_proxy_anchor(
    *, name: str, batch: int, rate: float, every: int, gamma: float, warm: int, pooling: str
):
    values = values_of("proxy_anchor", name)

    training = values["training"]
    assert training["batch_size"] == batch
    assert training["optimizer"] == {"name": "AdamW", "lr": rate, "weight_decay": 1e-4}
    assert training["schedule"] == {"every": every, "gamma": gamma}
    assert training["warmup"] == {"epochs": warm, "inside_budget": True}
    assert training["clip"] == {"value": 10}
    assert values["head.pooling"] == pooling
    assert values["loss.lr_scale"] == 100


@pytest.mark.parametrize(
    ("name", "k", "optimizer", "rate", "every", "warm", "pooling"),
    [
        ("cub_bn_inception", 0.9, "Adam", 1e-4, 10, 1, "avg"),
        ("cub_resnet50", 0.9, "Adam", 1e-4, 5, 0, "avg+max"),
        ("cars_bn_inception", 0.4, "Adam", 1e-4, 20, 1, "avg"),
        ("cars_resnet50", 0.4, "Adam", 1e-4, 10, 0, "avg+max"),
        ("sop_bn_inception", 0.9, "AdamW", 6e-4, 20, 1, "avg"),
        ("inshop_bn_inception", 0.1, "AdamW", 6e-4, 20, 1, "avg"),
    ],
)
def test_proxy_isa(
    *, name: str, k: float, optimizer: str, rate: float, every: int, warm: int, pooling: str
):
    values = values_of("proxy_isa", name)

    training = values["training"]
    assert (values["loss.k"], values["head.pooling"]) == (k, pooling)
    assert training["optimizer"] == {"name": optimizer, "lr": rate, "weight_decay": 1e-4}
    assert training["schedule"]["every"] == every
    assert training["warmup"]["epochs"] == warm
    affine = "after_warmup" if warm else "frozen"
    assert training["batchnorm"] == {"statistics": "frozen", "affine": affine}
    assert (training["batch_size"], training["epochs"]) == (128, 100)


@pytest.mark.parametrize(
    ("method", "name", "loss", "batch", "m", "optimizer"),
    [
        (
            "dr_triplet",
            "cub_triplet",
            {"margin": 0.2781877469005122, "gamma": 0.4919607680052035},
            128,
            16,
            {"name": "Adam", "lr": 1e-5, "weight_decay": 0},
        ),
        (
            "dr_proxy_nca",
            "cub_proxy_nca",
            {"gamma": 0.3, "lr_scale": 1},
            144,
            12,
            {"name": "Adam", "lr": 1e-5, "weight_decay": 0},
        ),
        (
            "dr_ms",
            "cub_ms",
            {"scale_pos": 2, "scale_neg": 50, "base": 0.6, "mining_margin": 0.1, "gamma": 0.28},
            80,
            5,
            {"name": "Adam", "lr": 3e-5, "weight_decay": 5e-3},
        ),
    ],
)
def test_direction_regularisation(
    *,
    method: str,
    name: str,
    loss: dict[str, float],
    batch: int,
    m: int,
    optimizer: dict[str, object],
):
    values = values_of(method, name)

    training = values["training"]
    assert {k.removeprefix("loss."): v for k, v in values.items() if "loss." in k} == loss
    assert (training["batch_size"], values["sampler.m"]) == (batch, m)
    assert training["optimizer"] == optimizer
    assert training["batchnorm"] == {"statistics": "train", "affine": "train", "momentum": 0.9}


@pytest.mark.parametrize("backbone", ["vit_s16", "deit_s16_distilled", "dino_vits16"])
@pytest.mark.parametrize(
    ("data", "m", "batch", "epochs"),
    [("cub", 9, 900, 50), ("cars", 9, 882, 300), ("sop", 2, 900, 200), ("inshop", 2, 900, 400)],
)
@pytest.mark.parametrize(("suffix", "c", "tau"), [("", 0.1, 0.2), ("_sphere", 0, 0.1)])
def test_hyp(  # noqa: PLR0913 - a table
    *, data: str, backbone: str, suffix: str, m: int, batch: int, epochs: int, c: float, tau: float
):
    values = values_of("hyp", f"{data}_{backbone}{suffix}")

    training = values["training"]
    rate = 1e-5 if backbone == "dino_vits16" else 3e-5
    assert (values["loss.c"], values["loss.tau"], values["loss.clip_radius"]) == (c, tau, 2.3)
    assert (values["sampler.m"], training["batch_size"], training["epochs"]) == (m, batch, epochs)
    assert training["optimizer"] == {"name": "AdamW", "lr": rate, "weight_decay": 0.01}
    assert training["clip"] == {"norm": 3}
    assert (values["backbone.name"], values["head.dim"]) == (backbone, 128)


@pytest.mark.parametrize(
    ("backbone", "rates"),
    [
        ("resnet50", (1e-4, 6e-4)),
        ("vit_s16", (1e-5, 1e-5)),
        ("deit_s16_distilled", (1e-5, 1e-5)),
        ("dino_vits16", (5e-6, 5e-6)),
    ],
)
@pytest.mark.parametrize(
    ("data", "large", "decay", "epochs", "warm", "steps"),
    [
        ("cub", False, 1e-2, 100, 1, {"every": 5, "gamma": 0.5}),
        ("cars", False, 1e-2, 100, 1, {"every": 10, "gamma": 0.5}),
        ("sop", True, 1e-4, 150, 5, {"every": 25, "gamma": 0.3}),
        ("inshop", True, 1e-4, 150, 5, {"every": 20, "gamma": 0.3}),
    ],
)
def test_hier(  # noqa: PLR0913 - a table
    *,
    data: str,
    backbone: str,
    rates: tuple[float, float],
    large: bool,
    decay: float,
    epochs: int,
    warm: int,
    steps: dict[str, float],
):
    values = values_of("hier", f"{data}_{backbone}")

    training = values["training"]
    adam = {"name": "AdamW", "lr": rates[large], "weight_decay": decay, "options": {"eps": 1e-4}}
    assert training["optimizer"] == adam
    assert (training["batch_size"], training["epochs"]) == (180, epochs)
    assert training["warmup"] == {"epochs": warm, "inside_budget": True, "backbone": "lr_0"}
    cnn = backbone == "resnet50"
    assert training.get("schedule") == (steps if cnn else None)
    assert training.get("head_lr_scale", 1) == (100 if large and not cnn else 1)
    assert (values["loss.lambda1"], values["loss.lambda2"], values["loss.topk"]) == (1, 0.5, 20)
    assert (values["sampler.name"], values["sampler.m"]) == ("ipc", 2)
