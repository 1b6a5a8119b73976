"""Cards of the small vision transformers; nothing here needs torch."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from harness.api import BackboneContext, BackboneSpec, Params, Preprocessing, WeightFile

if TYPE_CHECKING:
    from torch import nn

HALF = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
FACEBOOK = "https://dl.fbaipublicfiles.com"


class TransformerParams(Params):
    """What of a transformer is not trained; the defaults are those of Hyp and HIER."""

    frozen_patch_embedding: Annotated[
        bool, Field(description="keep the projection of patches as it was initialised")
    ] = True
    frozen_blocks: Annotated[
        int, Field(ge=0, le=12, description="keep the first blocks as they were initialised")
    ] = 0


class DistilledParams(TransformerParams):
    """The same, and which of two tokens is the feature."""

    training_feature: Annotated[
        Literal["class_token", "mean"],
        Field(
            description="feature in training: the class token alone, as Hyp and HIER compute it, "
            "or the mean of class and distillation token, which is what all are tested with"
        ),
    ] = "class_token"


def _build(name: str, params: TransformerParams, context: BackboneContext) -> nn.Module:
    """Build the transformer of a card; random values come from torch's global generator."""
    from harness_vision.transformers import build  # torch and timm load here

    return build(name, TRANSFORMER_CARDS[name].weights, params, context)


def _card(
    name: str,
    summary: str,
    *,
    paper: str,
    weights: dict[str, WeightFile],
    preprocessing: Preprocessing | None = None,
    input_size: int = 224,
    params: type[TransformerParams] = TransformerParams,
) -> BackboneSpec:
    return BackboneSpec(
        name=name,
        summary=summary,
        paper=paper,
        params=params,
        features=384,
        input_size=input_size,
        preprocessing=preprocessing or Preprocessing(),
        weights=weights,
        build=partial(_build, name),
    )


# Digests are in the file's name, or were published by several who used the file; DINO's has none.
TRANSFORMER_CARDS = {
    card.name: card
    for card in (
        _card(
            "vit_s16",
            "ViT-S/16, class token; ImageNet-21k, then ImageNet-1k",
            paper="arXiv:2106.10270",
            preprocessing=HALF,
            weights={
                "imagenet": WeightFile(
                    url="https://storage.googleapis.com/vit_models/augreg/"
                    "S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0"
                    "--imagenet2012-steps_20k-lr_0.03-res_224.npz",
                    sha256="545815b4e770d2fa6ca4b3ccba7c16b035e474354e52d17ca197ea4efecbf4d3",
                )
            },
        ),
        _card(
            "deit_s16_distilled",
            "DeiT-S/16 with a distillation token; ImageNet-1k",
            paper="arXiv:2012.12877",
            params=DistilledParams,
            weights={
                "imagenet": WeightFile(
                    url=f"{FACEBOOK}/deit/deit_small_distilled_patch16_224-649709d9.pth",
                    sha256="649709d9",
                )
            },
        ),
        _card(
            "dino_vits16",
            "ViT-S/16 of DINO, class token; ImageNet-1k without labels",
            paper="arXiv:2104.14294",
            weights={
                "imagenet": WeightFile(
                    url=f"{FACEBOOK}/dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth"
                )
            },
        ),
        _card(
            "dinov2_vits14",
            "ViT-S/14 of DINOv2, class token; LVD-142M without labels",
            paper="arXiv:2304.07193",
            input_size=518,
            weights={
                "lvd142m": WeightFile(
                    url=f"{FACEBOOK}/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth",
                    sha256="b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",
                )
            },
        ),
        _card(
            "dinov3_vits16",
            "ViT-S/16 of DINOv3, class token; LVD-1689M without labels, own licence",
            paper="arXiv:2508.10104",
            input_size=256,
            weights={
                "lvd1689m": WeightFile(
                    url=f"{FACEBOOK}/dinov3/dinov3_vits16/"
                    "dinov3_vits16_pretrain_lvd1689m-08c60483.pth",
                    sha256="08c60483",
                )
            },
        ),
    )
}
