"""Backbones of torchvision, pretrainedmodels and timm, and the small network of few-shot learning.

To add one: a card here, and a row of the same name in `networks.NETWORKS`; for a transformer, in
`transformer_cards` and `transformers.TRANSFORMERS`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from harness.api import (
    BackboneContext,
    BackboneSpec,
    NoParams,
    Preprocessing,
    WeightFile,
    hookimpl,
)
from harness_vision.transformer_cards import TRANSFORMER_CARDS

if TYPE_CHECKING:
    from torch import nn


def _build(name: str, _: NoParams, context: BackboneContext) -> nn.Module:
    """Build the backbone of a card; random values come from torch's global generator."""
    from harness_vision.networks import build  # torch loads here

    return build(name, CARDS[name].weights, context)


def _card(
    name: str,
    summary: str,
    *,
    features: int,
    paper: str,
    preprocessing: Preprocessing | None = None,
    input_size: int = 224,
    imagenet: WeightFile | None = None,
) -> BackboneSpec:
    return BackboneSpec(
        name=name,
        summary=summary,
        paper=paper,
        features=features,
        input_size=input_size,
        preprocessing=preprocessing or Preprocessing(),
        weights={"imagenet": imagenet} if imagenet else {},
        build=partial(_build, name),
    )


# torchvision's IMAGENET1K_V1: what the field's papers started from. V2 comes from a stronger
# training recipe, so numbers that start from it are not comparable with theirs.
CARDS = {
    card.name: card
    for card in (
        _card(
            "conv4",
            "Four convolutional layers for grey images of 16 to 64 pixels",
            paper="arXiv:1703.05175",
            features=64,
            input_size=28,
            preprocessing=Preprocessing(channels="gray", mean=(0.5,), std=(0.5,)),
        ),
        _card(
            "conv4_rgb",
            "Four convolutional layers for colour images of 16 to 64 pixels",
            paper="arXiv:1703.05175",
            features=64,
            input_size=32,
            preprocessing=Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        ),
        _card(
            "resnet18",
            "ResNet-18 of torchvision",
            paper="arXiv:1512.03385",
            features=512,
            imagenet=WeightFile(
                url="https://download.pytorch.org/models/resnet18-f37072fd.pth",
                sha256="f37072fd",
            ),
        ),
        _card(
            "resnet50",
            "ResNet-50 of torchvision",
            paper="arXiv:1512.03385",
            features=2048,
            imagenet=WeightFile(
                url="https://download.pytorch.org/models/resnet50-0676ba61.pth",
                sha256="0676ba61",
            ),
        ),
        _card(
            "googlenet",
            "GoogLeNet of torchvision, without auxiliary classifiers and dropout",
            paper="arXiv:1409.4842",
            features=1024,
            # the ported weights want [-1, 1]; torchvision gets there by its `transform_input`
            preprocessing=Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
            imagenet=WeightFile(
                url="https://download.pytorch.org/models/googlenet-1378be20.pth",
                sha256="1378be20",
            ),
        ),
        _card(
            "bn_inception",
            "Inception with batch normalisation of pretrainedmodels, ported from Caffe",
            paper="arXiv:1502.03167",
            features=1024,
            preprocessing=Preprocessing(
                channels="bgr", value_range=255.0, mean=(104.0, 117.0, 128.0), std=(1.0, 1.0, 1.0)
            ),
            imagenet=WeightFile(
                url="http://data.lip6.fr/cadene/pretrainedmodels/bn_inception-52deb4733.pth",
                sha256="52deb4733",
            ),
        ),
    )
}


@hookimpl
def harness_backbones() -> Iterable[BackboneSpec]:
    """Return the cards of all backbones."""
    return [*CARDS.values(), *TRANSFORMER_CARDS.values()]
