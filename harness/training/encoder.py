"""Images to embeddings: a backbone, global pooling, and a head.

Shapes: B batch, K channels, H and W sides of an image, h and w sides of a map, F features,
D embedding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional

from harness import protocol
from harness.errors import HarnessError

BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
MAP_DIMENSIONS = 4  # B, F, h, w
FEATURE_DIMENSIONS = 2  # B, F


class Encoded(NamedTuple):
    """What an encoder makes of a batch: pooled features (B, F) and embeddings (B, D)."""

    features: Float[Tensor, "b f"]
    embeddings: Float[Tensor, "b d"]


class ProtocolHead(nn.Module):
    """Features (B, F) to embeddings (B, D) as a protocol describes: linear, norm, unit length.

    The unit length is x / max(‖x‖₂, 1e-12), so that a zero vector stays zero and has a gradient.
    """

    def __init__(self, num_features: int, head: protocol.Head, *, generator: Generator) -> None:
        super().__init__()
        linear = head.kind == "linear"
        self.linear = _linear(num_features, head, generator=generator) if linear else nn.Identity()
        self.layer_norm = (
            nn.LayerNorm(head.dim, eps=1e-5, elementwise_affine=False)
            if head.layer_norm
            else nn.Identity()
        )
        self.normalize = head.normalize

    def forward(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b d"]:
        """Return the embeddings of pooled features."""
        embeddings = self.layer_norm(self.linear(features))
        return functional.normalize(embeddings, dim=1, eps=1e-12) if self.normalize else embeddings


class Encoder(nn.Module):
    """A backbone and a head, with the pooling between them.

    Attributes:
        backbone: Images (B, K, H, W) to maps (B, F, h, w) or features (B, F).
        head: Features to embeddings (B, D).
        num_features: F, as the backbone's card says; each forward pass checks it.
        pooling: `avg`, or `avg+max` (the sum of both).
        always_frozen: Names of backbone parameters that were built frozen; they stay so.
    """

    def __init__(
        self, backbone: nn.Module, head: nn.Module, *, num_features: int, pooling: str = "avg"
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.num_features = num_features
        self.pooling = pooling
        self.always_frozen = frozenset(
            name for name, parameter in backbone.named_parameters() if not parameter.requires_grad
        )

    def forward(self, images: Float[Tensor, "b k h w"]) -> Encoded:
        """Return the features and embeddings of a batch of images.

        Raises:
            HarnessError: The backbone gives something other than its card says.
        """
        features = pool(self.backbone(images), pooling=self.pooling)
        if features.shape[1] != self.num_features:
            raise HarnessError(
                f"the backbone gives {features.shape[1]} features, its card says "
                f"{self.num_features}",
                hint=f"set features={features.shape[1]} on the backbone's card",
            )
        return Encoded(features, self.head(features))


def build_encoder(
    backbone: nn.Module,
    *,
    num_features: int,
    head: protocol.Head,
    custom_head: nn.Module | None = None,
    generator: Generator,
) -> Encoder:
    """Put a head on a backbone.

    A loss's own head replaces the protocol's completely, layer norm and unit length included;
    the pooling stays the protocol's.

    Args:
        backbone: As its card builds it.
        num_features: F.
        head: The protocol's description.
        custom_head: Of the loss; None takes the protocol's.
        generator: The only source of the linear layer's initial values.

    Raises:
        HarnessError: An identity head whose size is not the backbone's.
    """
    if custom_head is None and head.kind == "identity" and head.dim != num_features:
        raise HarnessError(
            f"an identity head keeps the backbone's {num_features} features, "
            f"but head.dim is {head.dim}",
            hint=f"set head.dim: {num_features}, or head.kind: linear",
        )
    if custom_head is None:
        custom_head = ProtocolHead(num_features, head, generator=generator)
    return Encoder(backbone, custom_head, num_features=num_features, pooling=head.pooling)


def pool(output: object, *, pooling: str) -> Float[Tensor, "b f"]:
    """Return features (B, F) from a backbone's maps (B, F, h, w); features pass through.

    Raises:
        HarnessError: The output has another shape, or a maximum is asked of pooled features.
    """
    if not isinstance(output, Tensor):
        raise HarnessError(f"the backbone returns a {type(output).__name__}, not one tensor")
    if output.ndim == MAP_DIMENSIONS:
        average = output.mean((2, 3))
        # amax shares a gradient among ties, and unlike max pooling it is deterministic on a GPU
        return average + output.amax((2, 3)) if pooling == "avg+max" else average
    if output.ndim != FEATURE_DIMENSIONS:
        raise HarnessError(
            f"the backbone returns shape {tuple(output.shape)}, "
            "neither maps (B, F, h, w) nor features (B, F)"
        )
    if pooling == "avg+max":
        raise HarnessError(
            "head.pooling 'avg+max' needs maps, but the backbone returns pooled features",
            hint="set head.pooling: avg",
        )
    return output


def prepare_for_epoch(
    encoder: Encoder, batchnorm: protocol.BatchNorm, *, warming_up: bool
) -> None:
    """Put an encoder into the modes that one training epoch needs.

    Call it before each epoch, because evaluation leaves every module in `eval()`. The head trains
    always. While warming up no parameter of the backbone does; its batch-norm statistics follow
    their own rule even then, as in the authors' code of Proxy Anchor and HIST. Batch
    normalisation inside the head or a loss is never touched.
    """
    encoder.train()
    for name, parameter in encoder.backbone.named_parameters():
        parameter.requires_grad_(not warming_up and name not in encoder.always_frozen)
    for module in batch_norms(encoder.backbone):
        if batchnorm.momentum is not None:
            setattr(module, "momentum", batchnorm.momentum)  # noqa: B010 - nn.Module has no such field
        if batchnorm.statistics == "frozen":
            module.eval()  # running statistics are used and kept; scale and shift may still learn
        if batchnorm.affine == "frozen":
            module.requires_grad_(requires_grad=False)


def batch_norms(backbone: nn.Module) -> Iterator[nn.Module]:
    """Yield the batch-norm modules of a backbone, in the order of its modules."""
    return (module for module in backbone.modules() if isinstance(module, BATCH_NORM))


def _linear(num_features: int, head: protocol.Head, *, generator: Generator) -> nn.Linear:
    """Return the head's linear layer without touching the global generator."""
    with torch.random.fork_rng(devices=[]):  # skip_init would load 500 modules of torch for this
        linear = nn.Linear(num_features, head.dim)
    if head.init == "kaiming_fan_out":
        nn.init.kaiming_normal_(linear.weight, mode="fan_out", generator=generator)
        nn.init.zeros_(linear.bias)
        return linear
    # the draws of nn.Linear itself, from our generator
    nn.init.kaiming_uniform_(linear.weight, a=math.sqrt(5), generator=generator)
    bound = 1 / math.sqrt(num_features)
    nn.init.uniform_(linear.bias, -bound, bound, generator=generator)
    return linear
