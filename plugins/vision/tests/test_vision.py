from __future__ import annotations

import importlib
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from harness_vision import CARDS, harness_backbones
from harness_vision.networks import NETWORKS
from harness_vision.transformer_cards import TRANSFORMER_CARDS
from harness_vision.transformers import TRANSFORMERS
from torch import Tensor, nn
from torchvision import models

from harness.api import (
    BackboneContext,
    BackboneSpec,
    HarnessError,
    MissingDataError,
    NoParams,
    derive_seed,
)

every_card = pytest.mark.parametrize("card", CARDS.values(), ids=CARDS.keys())


def built(card: BackboneSpec, seed: int = 0, weights: str = "none") -> nn.Module:
    torch.manual_seed(derive_seed(seed, "backbone"))
    return card.build(NoParams(), BackboneContext(weights=weights))


def random_images(card: BackboneSpec, side: int = 32, number: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(number, len(card.preprocessing.mean), side, side, generator=generator)


def maps(module: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return module.eval()(images)


# --- every card ---------------------------------------------------------------------------------


def test_the_hook_returns_one_card_per_network():
    names = [card.name for card in harness_backbones()]

    assert names == [*NETWORKS, *TRANSFORMERS]
    assert names == [*CARDS, *TRANSFORMER_CARDS]


@every_card
def test_a_backbone_gives_maps_of_the_width_on_its_card(card: BackboneSpec):
    output = maps(built(card), random_images(card))

    assert output.ndim == 4
    assert output.shape[:2] == (2, card.features)
    assert output.isfinite().all()


@every_card
def test_every_parameter_of_a_backbone_gets_a_gradient(card: BackboneSpec):
    module = built(card).train()

    module(random_images(card)).square().sum().backward()

    without = [name for name, value in module.named_parameters() if value.grad is None]
    assert without == []


@every_card
def test_equal_seeds_give_equal_weights(card: BackboneSpec):
    first, second, other = (built(card, seed).state_dict() for seed in (1, 1, 2))

    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert any(not torch.equal(value, other[name]) for name, value in first.items())


@every_card
def test_saved_weights_come_back_to_the_last_bit(card: BackboneSpec, tmp_path: Path):
    trained = built(card, seed=1)
    extra = {f"{prefix}weight": torch.ones(3) for prefix in NETWORKS[card.name].drop}
    path = tmp_path / "own.pt"
    torch.save({"state_dict": {**trained.state_dict(), **extra}}, path)

    restored = built(card, seed=2, weights=str(path)).state_dict()

    state = trained.state_dict()
    assert state.keys() == restored.keys()
    assert all(torch.equal(value, restored[name]) for name, value in state.items())


@every_card
def test_a_card_is_complete(card: BackboneSpec):
    channels = {"gray": 1, "rgb": 3, "bgr": 3}[card.preprocessing.channels]

    assert len(card.preprocessing.mean) == len(card.preprocessing.std) == channels
    assert card.preprocessing.value_range in {1.0, 255.0}
    assert card.summary
    assert card.paper.startswith("arXiv:")


@pytest.mark.parametrize("card", [card for card in CARDS.values() if card.weights])
def test_published_weights_carry_their_digest_in_their_name(card: BackboneSpec):
    for file in card.weights.values():
        assert file.url.endswith(f"-{file.sha256}.pth")


def test_missing_published_weights_are_one_message(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    context = BackboneContext(weights="imagenet", folder=tmp_path)

    with pytest.raises(MissingDataError, match="resnet18-f37072fd") as caught:
        CARDS["resnet18"].build(NoParams(), context)

    assert "--download" in str(caught.value.hint)


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path):
    path = tmp_path / "own.pt"
    torch.save(built(CARDS["conv4"]).state_dict(), path)

    with pytest.raises(HarnessError, match=r"layers\.0\.1\.weight .*missing|missing.*layers"):
        built(CARDS["resnet18"], weights=str(path))


# --- against the libraries ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("resnet18", models.ResNet18_Weights.IMAGENET1K_V1),
        ("resnet50", models.ResNet50_Weights.IMAGENET1K_V1),
        ("googlenet", models.GoogLeNet_Weights.IMAGENET1K_V1),
    ],
)
def test_weights_are_the_first_that_torchvision_published(name: str, weights: models.WeightsEnum):
    assert CARDS[name].weights["imagenet"].url == weights.url


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnet_computes_what_torchvision_feeds_its_classifier(name: str):
    card = CARDS[name]
    torch.manual_seed(0)
    whole = models.get_model(name, num_classes=3)
    body = built(card)
    body.load_state_dict(
        {key: value for key, value in whole.state_dict().items() if not key.startswith("fc.")}
    )
    images = random_images(card)

    pooled = maps(body, images).mean((2, 3))

    torch.testing.assert_close(whole.eval().fc(pooled), whole(images))


def test_resnet_preprocessing_is_what_torchvision_documents():
    expected = models.ResNet50_Weights.IMAGENET1K_V1.transforms()
    preprocessing = CARDS["resnet50"].preprocessing

    assert list(preprocessing.mean) == expected.mean
    assert list(preprocessing.std) == expected.std
    assert preprocessing.channels == "rgb"
    assert preprocessing.value_range == 1.0
    assert [CARDS["resnet50"].input_size] == expected.crop_size


def test_googlenet_and_its_preprocessing_equal_torchvision_with_transformed_input(tmp_path: Path):
    card = CARDS["googlenet"]
    torch.manual_seed(0)
    whole = models.GoogLeNet(
        num_classes=3, aux_logits=True, transform_input=True, init_weights=False
    )
    path = tmp_path / "whole.pt"
    torch.save(whole.state_dict(), path)  # as published: with classifier and auxiliary ones
    pixels = torch.rand(2, 3, 32, 32)
    documented = models.GoogLeNet_Weights.IMAGENET1K_V1.transforms()

    pooled = maps(built(card, weights=str(path)), normalized(pixels, card)).mean((2, 3))

    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (documented.mean, documented.std))
    with torch.inference_mode():
        torch.testing.assert_close(whole.eval().fc(pooled), whole((pixels - mean) / std))


def normalized(pixels: Tensor, card: BackboneSpec) -> Tensor:
    """Apply a card's preprocessing to RGB pixels in [0, 1]."""
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in (card.preprocessing.mean, card.preprocessing.std)
    )
    return (pixels * card.preprocessing.value_range - mean) / std


def test_googlenet_keeps_the_epsilon_of_its_batch_norms():
    norms = [m for m in built(CARDS["googlenet"]).modules() if isinstance(m, nn.BatchNorm2d)]

    assert {norm.eps for norm in norms} == {0.001}


def test_bn_inception_computes_what_pretrainedmodels_feeds_its_classifier(tmp_path: Path):
    card = CARDS["bn_inception"]
    built(card)  # the first import is where its warnings would be
    from pretrainedmodels.models.bninception import BNInception

    torch.manual_seed(0)
    whole = BNInception(num_classes=3)
    published = {  # as torch 0.1 wrote it: (1, C) batch norms, no counters
        name: value[None] if "_bn." in name else value
        for name, value in whole.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    path = tmp_path / "published.pt"
    torch.save(published, path, _use_new_zipfile_serialization=False)
    images = random_images(card, 224, number=1)  # its own pooling needs the full size

    pooled = maps(built(card, weights=str(path)), images).mean((2, 3))

    with torch.inference_mode():
        torch.testing.assert_close(whole.eval().last_linear(pooled), whole(images))


def test_bn_inception_preprocessing_is_what_pretrainedmodels_documents():
    from pretrainedmodels.models.bninception import pretrained_settings

    expected = pretrained_settings["bninception"]["imagenet"]
    card = CARDS["bn_inception"]
    preprocessing = card.preprocessing

    assert preprocessing.channels.upper() == expected["input_space"]
    assert [0, preprocessing.value_range] == expected["input_range"]
    assert list(preprocessing.mean) == expected["mean"]
    assert list(preprocessing.std) == expected["std"]
    assert card.weights["imagenet"].url == expected["url"]


def test_conv4_has_the_weights_of_four_layers():
    weights = sum(parameter.numel() for parameter in built(CARDS["conv4"]).parameters())

    first, other, norm = 1 * 64 * 9, 64 * 64 * 9, 2 * 64
    assert weights == first + 3 * other + 4 * norm


@pytest.mark.parametrize(("side", "expected"), [(16, 1), (28, 1), (32, 2), (64, 4)])
def test_conv4_halves_the_side_four_times(side: int, expected: int):
    card = CARDS["conv4"]

    assert maps(built(card), random_images(card, side)).shape[2:] == (expected, expected)


def test_conv4_refuses_images_that_would_vanish():
    card = CARDS["conv4"]

    with pytest.raises(HarnessError, match="images of 15 x 15 pixels") as caught:
        built(card)(random_images(card, 15))

    assert "16 pixels or more" in str(caught.value.hint)


# --- importing ----------------------------------------------------------------------------------


def test_reading_the_cards_loads_no_library():
    heavy = ("torch", "numpy", "torchvision", "pretrainedmodels", "timm", "pyarrow", "duckdb")
    code = f"import sys, harness_vision; print([m for m in {heavy} if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("imported", "warns"),
    [
        pytest.param("harness_vision.bn_inception", False, id="ours"),
        pytest.param("pretrainedmodels", True, id="control"),
    ],
)
def test_users_do_not_see_the_warnings_of_pretrainedmodels(
    imported: str,
    warns: bool,  # noqa: FBT001
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    importlib.import_module(imported)
    for name in list(sys.modules):
        if name.startswith(("pretrainedmodels", "harness_vision.bn_inception")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))  # compile again, as the first time

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        importlib.import_module(imported)

    assert any("pretrainedmodels" in warning.filename for warning in seen) == warns
