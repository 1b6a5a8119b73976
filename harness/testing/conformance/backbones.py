"""Checks of a backbone.

Shapes: B batch, F features, h and w of a map.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from harness.contracts import BackboneContext
from harness.specs import BackboneSpec, Params
from harness.testing.conformance.batches import global_stream

CHANNELS = {"rgb": 3, "bgr": 3, "gray": 1}


@dataclass(frozen=True)
class BackboneTrial:
    """A backbone under test, built once, without weights."""

    card: BackboneSpec
    params: Params
    module: nn.Module

    @classmethod
    def of(cls, card: BackboneSpec, params: Params) -> BackboneTrial:
        """Build the backbone with random values."""
        with global_stream(0):
            module: nn.Module = card.build(params, BackboneContext())
        return cls(card, params, module.eval())

    def images(self) -> Tensor:
        """Return two images of the size the weights were trained on, at most 224 pixels."""
        side = min(self.card.input_size, 224)
        generator = torch.Generator().manual_seed(0)
        shape = 2, CHANNELS[self.card.preprocessing.channels], side, side
        return torch.randn(shape, generator=generator)

    @cached_property
    def features(self) -> Any:  # noqa: ANN401 - whatever a plugin's module returns
        """What the backbone makes of the images; computed once."""
        return self.module(self.images())


def preprocessing_fits_the_channels(trial: BackboneTrial) -> str | None:
    """Expect a mean and a positive standard deviation for each channel."""
    said = trial.card.preprocessing
    channels = CHANNELS[said.channels]
    if (len(said.mean), len(said.std)) != (channels, channels):
        return f"{channels} channels, but {len(said.mean)} means and {len(said.std)} deviations"
    return None if min(said.std) > 0 else f"a standard deviation is {min(said.std)}"


def features_are_as_declared(trial: BackboneTrial) -> str | None:
    """Expect (B, F), or maps (B, F, h, w) for the encoder to pool, finite, with the card's F."""
    features = trial.features
    if not isinstance(features, Tensor) or features.ndim not in {2, 4}:
        return f"{type(features).__name__} of shape {tuple(getattr(features, 'shape', ()))}"
    if len(features) != len(trial.images()) or features.shape[1] != trial.card.features:
        return f"shape {tuple(features.shape)}, but the card says F = {trial.card.features}"
    return None if features.isfinite().all() else "features are not finite"


def images_do_not_see_one_another(trial: BackboneTrial) -> str | None:
    """Expect that features of an image do not depend on its batch in evaluation."""
    with torch.inference_mode():
        alone = trial.module(trial.images()[:1])
    if torch.allclose(trial.features[:1], alone, rtol=1e-3, atol=1e-4):
        return None
    return "an image alone has other features than in a batch"


def every_parameter_gets_a_gradient(trial: BackboneTrial) -> str | None:
    """Expect that nothing learnable is left out of the features."""
    trial.module.zero_grad()
    trial.features.square().sum().backward()
    idle = [n for n, p in trial.module.named_parameters() if p.requires_grad and p.grad is None]
    trial.module.zero_grad()
    return f"no gradient reaches {', '.join(idle)}" if idle else None


def weights_are_pinned(trial: BackboneTrial) -> str | None:
    """Expect an address of every published weight file, and a digest of 8 digits or none."""
    for key, file in trial.card.weights.items():
        if not file.url.startswith(("http://", "https://")) or 0 < len(file.sha256) < 8:  # noqa: PLR2004
            return f"weights {key!r} have no address, or a digest that is too short"
    return None


BACKBONE_CHECKS = (
    preprocessing_fits_the_channels,
    weights_are_pinned,
    features_are_as_declared,
    images_do_not_see_one_another,
    every_parameter_gets_a_gradient,
)
