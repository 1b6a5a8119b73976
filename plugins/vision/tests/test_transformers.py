"""Vision transformers against timm's own, at 32 pixels wherever size does not matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from harness_vision.transformer_cards import TRANSFORMER_CARDS, DistilledParams, TransformerParams
from harness_vision.transformers import TRANSFORMERS
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from harness.api import BackboneContext, BackboneSpec, HarnessError, MissingDataError

IN_TIMM = {
    "vit_s16": "vit_small_patch16_224.augreg_in21k_ft_in1k",
    "deit_s16_distilled": "deit_small_distilled_patch16_224.fb_in1k",
    "dino_vits16": "vit_small_patch16_224.dino",
    "dinov2_vits14": "vit_small_patch14_dinov2.lvd142m",
    "dinov3_vits16": "vit_small_patch16_dinov3_qkvb.lvd1689m",
}
every_card = pytest.mark.parametrize(
    "card", TRANSFORMER_CARDS.values(), ids=TRANSFORMER_CARDS.keys()
)


def built(card: BackboneSpec, weights: str = "none", **params: object) -> nn.Module:
    torch.manual_seed(0)
    return card.build(card.params(**params), BackboneContext(weights=weights))


def of_timm(card: BackboneSpec, **options: object) -> nn.Module:
    torch.manual_seed(1)
    return timm.create_model(IN_TIMM[card.name].partition(".")[0], num_classes=0, **options)


def few_patches(card: BackboneSpec) -> Tensor:
    side = 2 * TRANSFORMERS[card.name].patch
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def learnable(module: nn.Module) -> set[str]:
    return {name for name, value in module.named_parameters() if value.requires_grad}


@every_card
def test_preprocessing_and_address_are_what_timm_documents(card: BackboneSpec):
    expected = get_pretrained_cfg(IN_TIMM[card.name])
    (file,) = card.weights.values()

    assert card.preprocessing.mean == expected.mean
    assert card.preprocessing.std == expected.std
    assert (card.preprocessing.channels, card.preprocessing.value_range) == ("rgb", 1.0)
    assert expected.input_size == (3, card.input_size, card.input_size)
    assert file.url == expected.url or not expected.url


@every_card
def test_the_features_are_those_of_timm(card: BackboneSpec):
    token = {"global_pool": "token"} if card.name == "dinov3_vits16" else {}
    reference = of_timm(card, dynamic_img_size=True, **token).eval()
    ours = built(card)
    ours.load_state_dict(reference.state_dict())  # refuses other names and shapes
    images = few_patches(card)

    with torch.inference_mode():
        found, expected = ours.eval()(images), reference(images)

    assert found.shape == (2, card.features)
    assert torch.equal(found, expected)


def test_at_the_size_of_the_weights_position_embeddings_are_untouched():
    card = TRANSFORMER_CARDS["vit_s16"]
    reference = of_timm(card).eval()  # takes this size alone
    ours = built(card)
    ours.load_state_dict(reference.state_dict())
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))

    with torch.inference_mode():
        assert torch.equal(ours.eval()(image), reference(image))


@every_card
def test_only_the_patch_embedding_is_frozen_as_hyp_and_hier_do(card: BackboneSpec):
    module = built(card)
    frozen = {name for name, _ in module.named_parameters()} - learnable(module)

    module(few_patches(card)).square().sum().backward()

    assert frozen == {"patch_embed.proj.weight", "patch_embed.proj.bias"}
    without = [n for n, p in module.named_parameters() if n not in frozen and p.grad is None]
    assert without == []


def test_the_first_blocks_can_be_frozen_and_the_patch_embedding_trained():
    module = built(TRANSFORMER_CARDS["vit_s16"], frozen_patch_embedding=False, frozen_blocks=2)

    frozen = {name for name, _ in module.named_parameters()} - learnable(module)

    assert {name[: len("blocks.0.")] for name in frozen} == {"blocks.0.", "blocks.1."}
    assert len(frozen) == 2 * 12  # each: two norms, qkv, projection, two layers; weight and bias


@every_card
def test_saved_weights_come_back_to_the_last_bit(card: BackboneSpec, tmp_path: Path):
    trained = of_timm(card).state_dict()
    extra = {f"{prefix}weight": torch.ones(3) for prefix in TRANSFORMERS[card.name].drop}
    path = tmp_path / "own.pt"
    torch.save({"model": {**trained, **extra}}, path)

    restored = built(card, weights=str(path)).state_dict()

    assert trained.keys() == restored.keys()
    assert all(torch.equal(value, restored[name]) for name, value in trained.items())


@every_card
def test_images_that_patches_do_not_fill_are_refused(card: BackboneSpec):
    with pytest.raises(HarnessError, match="images of 33 x 32 pixels") as caught:
        built(card)(torch.zeros(1, 3, 33, 32))

    assert f"a multiple of {TRANSFORMERS[card.name].patch} pixels" in str(caught.value.hint)


# --- DeiT's two tokens --------------------------------------------------------------------------


def tokens(module: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    found = module.forward_features(images)
    return found[:, 0], found[:, 1]


@pytest.mark.parametrize("feature", ["class_token", "mean"])
def test_deit_is_tested_with_the_mean_of_both_tokens(feature: str):
    card = TRANSFORMER_CARDS["deit_s16_distilled"]
    module, images = built(card, training_feature=feature).eval(), few_patches(card)
    first, second = tokens(module, images)

    torch.testing.assert_close(module(images), (first + second) / 2)


def test_deit_is_trained_with_the_class_token_as_published_or_with_the_mean():
    card = TRANSFORMER_CARDS["deit_s16_distilled"]
    images = few_patches(card)
    published, intended = (
        built(card, **kind).train() for kind in ({}, {"training_feature": "mean"})
    )
    first, second = tokens(published, images)

    torch.testing.assert_close(published(images), first)
    torch.testing.assert_close(intended(images), (first + second) / 2)


def test_only_deit_has_a_choice_of_tokens():
    with_choice = [c.name for c in TRANSFORMER_CARDS.values() if c.params is not TransformerParams]

    assert with_choice == ["deit_s16_distilled"]
    assert TRANSFORMER_CARDS["deit_s16_distilled"].params is DistilledParams


# --- files as they were published ---------------------------------------------------------------


def as_flax(module: nn.Module) -> dict[str, np.ndarray]:
    """Write a timm transformer under the names and in the layout of Google's `.npz` files."""
    state = {name: value.numpy() for name, value in module.state_dict().items()}
    heads, width = 6, 384
    found = {
        "cls": state["cls_token"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "embedding/kernel": state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
    }
    for index in range(12):
        ours, theirs = f"blocks.{index}.", f"Transformer/encoderblock_{index}/"
        attention = f"{theirs}MultiHeadDotProductAttention_1/"
        for norm, number in (("norm1", 0), ("norm2", 2)):
            found[f"{theirs}LayerNorm_{number}/scale"] = state[f"{ours}{norm}.weight"]
            found[f"{theirs}LayerNorm_{number}/bias"] = state[f"{ours}{norm}.bias"]
        parts = np.split(state[f"{ours}attn.qkv.weight"], 3)
        biases = np.split(state[f"{ours}attn.qkv.bias"], 3)
        for name, part, bias in zip(("query", "key", "value"), parts, biases, strict=True):
            found[f"{attention}{name}/kernel"] = part.T.reshape(width, heads, -1)
            found[f"{attention}{name}/bias"] = bias.reshape(heads, -1)
        out = state[f"{ours}attn.proj.weight"]
        found[f"{attention}out/kernel"] = out.T.reshape(heads, -1, width)
        found[f"{attention}out/bias"] = state[f"{ours}attn.proj.bias"]
        for layer in (1, 2):
            dense = f"{theirs}MlpBlock_3/Dense_{layer - 1}/"
            found[f"{dense}kernel"] = state[f"{ours}mlp.fc{layer}.weight"].T
            found[f"{dense}bias"] = state[f"{ours}mlp.fc{layer}.bias"]
    return found


def test_vit_reads_the_file_of_google(tmp_path: Path):
    card = TRANSFORMER_CARDS["vit_s16"]
    published = of_timm(card)
    path = tmp_path / "published.npz"
    np.savez(path, **as_flax(published))

    restored = built(card, weights=str(path)).state_dict()

    assert all(torch.equal(value, restored[n]) for n, value in published.state_dict().items())


def test_a_damaged_file_of_google_is_one_message(tmp_path: Path):
    path = tmp_path / "published.npz"
    np.savez(path, cls=np.zeros(3))

    with pytest.raises(HarnessError, match="holds no weights of this transformer"):
        built(TRANSFORMER_CARDS["vit_s16"], weights=str(path))


def test_dinov3_reads_the_file_of_its_authors(tmp_path: Path):
    card = TRANSFORMER_CARDS["dinov3_vits16"]
    timms = of_timm(card).state_dict()
    published = {"mask_token": torch.zeros(1, 384), "rope_embed.periods": torch.zeros(16)}
    for name, value in timms.items():
        name = name.replace("reg_token", "storage_tokens")  # noqa: PLW2901
        name = name.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")  # noqa: PLW2901
        if name.endswith("v_bias"):
            continue
        if name.endswith("q_bias"):
            both = value, torch.zeros(384), timms[name.replace("q_bias", "v_bias")]
            published[name.replace("q_bias", "qkv.bias")] = torch.cat(both)
            published[name.replace("q_bias", "qkv.bias_mask")] = torch.ones(3 * 384)
        else:
            published[name] = value
    path = tmp_path / "published.pth"
    torch.save(published, path)

    restored = built(card, weights=str(path)).state_dict()

    assert all(torch.equal(value, restored[name]) for name, value in timms.items())


def test_missing_published_weights_are_one_message(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    context = BackboneContext(weights="imagenet", folder=tmp_path)
    card = TRANSFORMER_CARDS["dino_vits16"]

    with pytest.raises(MissingDataError, match="dino_deitsmall16_pretrain") as caught:
        card.build(card.params(), context)

    assert "--download" in str(caught.value.hint)


def test_a_published_file_without_a_digest_is_used_as_it_is(tmp_path: Path):
    card = TRANSFORMER_CARDS["dino_vits16"]
    state = of_timm(card).state_dict()
    torch.save(state, tmp_path / "dino_deitsmall16_pretrain.pth")

    module = card.build(card.params(), BackboneContext(weights="imagenet", folder=tmp_path))

    assert torch.equal(module.state_dict()["cls_token"], state["cls_token"])
