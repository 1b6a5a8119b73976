"""The networks behind the cards: images (B, K, H, W) to maps (B, F, h, w), before any pooling.

Parameter names are those of the library a network comes from, less its classifier, so that its
published weights and everybody's fine-tuned ones fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import nn
from torchvision import models

from harness.api import BackboneContext, HarnessError, WeightFile
from harness.kit.initial_weights import load_initial_weights

CONV4_LAYERS = 4
CONV4_SMALLEST = 2**CONV4_LAYERS  # each layer halves the side


class Network(NamedTuple):
    """How to make a network with random values, and what published files hold beyond it."""

    make: Callable[[], nn.Module]
    drop: tuple[str, ...] = ()


class Conv4(nn.Module):
    """Four layers of 3x3 convolution, batch norm, ReLU and 2x2 max pooling, 64 channels each.

    As in Prototypical Networks (arXiv:1703.05175, §3.1), without the convolutions' biases, which
    batch norm would cancel.
    """

    def __init__(self, *, channels: int, width: int = 64) -> None:
        super().__init__()
        inputs = (channels, *(width for _ in range(CONV4_LAYERS - 1)))
        self.layers = nn.Sequential(*(self._layer(given, width) for given in inputs))

    @staticmethod
    def _layer(channels: int, width: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the maps of images, which must have at least 16 pixels a side."""
        height, width = images.shape[-2:]
        if min(height, width) < CONV4_SMALLEST:
            raise HarnessError(
                f"conv4 cannot take images of {height} x {width} pixels",
                hint=f"resize them to {CONV4_SMALLEST} pixels or more in transforms",
            )
        return self.layers(images)


def _resnet(make: Callable[[], nn.Module]) -> nn.Module:
    return _until(make(), "avgpool")


def _googlenet() -> nn.Module:
    # Given explicitly: torchvision warns that it will change its default.
    network = models.GoogLeNet(aux_logits=False, transform_input=False, init_weights=True)
    return _until(network, "avgpool")


def _until(network: nn.Module, name: str) -> nn.Sequential:
    """Return the children of a network before the named one; they must run in their order."""
    body = nn.Sequential()
    for child_name, child in network.named_children():
        if child_name == name:
            return body
        body.add_module(child_name, child)
    raise AssertionError(f"{type(network).__name__} has no child {name!r}")


def _bn_inception() -> nn.Module:
    from harness_vision.bn_inception import BNInceptionBody  # pretrainedmodels loads here

    return BNInceptionBody()


NETWORKS: Mapping[str, Network] = {
    "conv4": Network(lambda: Conv4(channels=1)),
    "conv4_rgb": Network(lambda: Conv4(channels=3)),
    "resnet18": Network(lambda: _resnet(models.resnet18), drop=("fc.",)),
    "resnet50": Network(lambda: _resnet(models.resnet50), drop=("fc.",)),
    "googlenet": Network(_googlenet, drop=("fc.", "aux1.", "aux2.")),
    "bn_inception": Network(_bn_inception, drop=("last_linear.", "fc.")),
}


def build(name: str, published: Mapping[str, WeightFile], context: BackboneContext) -> nn.Module:
    """Build a network with the weights that the context asks for.

    Random values are drawn from torch's global generator, which the caller seeds.
    """
    network = NETWORKS[name]
    module = network.make()
    load_initial_weights(module, published, context, drop=network.drop)
    return module
