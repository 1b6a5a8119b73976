"""The networks behind the cards: images (B, K, H, W) to maps (B, F, h, w), before any pooling.

Parameter names are those of the library a network comes from, less its classifier, so that its
published weights and everybody's fine-tuned ones fit. Each library loads when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from torch import nn

from harness.api import BackboneContext, WeightFile
from harness.kit.initial_weights import load_initial_weights
from harness_vision.conv4 import Conv4


class Network(NamedTuple):
    """How to make a network with random values, and what published files hold beyond it."""

    make: Callable[[], nn.Module]
    drop: tuple[str, ...] = ()


def _resnet(name: str) -> nn.Module:
    from torchvision import models

    return _before(models.get_model(name, weights=None), "avgpool")


def _googlenet() -> nn.Module:
    from torchvision import models

    # init_weights is given because torchvision warns that its default will change
    network = models.GoogLeNet(aux_logits=False, transform_input=False, init_weights=True)
    return _before(network, "avgpool")


def _bn_inception() -> nn.Module:
    from harness_vision.bn_inception import BNInceptionBody

    return BNInceptionBody()


NETWORKS: Mapping[str, Network] = {
    "conv4": Network(partial(Conv4, channels=1)),
    "conv4_rgb": Network(partial(Conv4, channels=3)),
    "resnet18": Network(partial(_resnet, "resnet18"), drop=("fc.",)),
    "resnet50": Network(partial(_resnet, "resnet50"), drop=("fc.",)),
    "googlenet": Network(_googlenet, drop=("fc.", "aux1.", "aux2.")),
    "bn_inception": Network(_bn_inception, drop=("last_linear.",)),
}


def build(name: str, published: Mapping[str, WeightFile], context: BackboneContext) -> nn.Module:
    """Build a network with the weights that the context asks for.

    Random values are drawn from torch's global generator, which the caller seeds.
    """
    network = NETWORKS[name]
    module = network.make()
    load_initial_weights(module, published, context, drop=network.drop)
    return module


def _before(network: nn.Module, name: str) -> nn.Sequential:
    """Return the children of a network before the named one; they must run in their order."""
    body = nn.Sequential()
    for child_name, child in network.named_children():
        if child_name == name:
            return body
        body.add_module(child_name, child)
    raise AssertionError(f"{type(network).__name__} has no child {name!r}")
