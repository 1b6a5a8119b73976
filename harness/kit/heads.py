"""Heads that a loss brings along instead of the protocol's.

Shapes: B batch, F features, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn


class OrthogonalHead(nn.Module):
    """Features (B, F) to embeddings (B, D): layer norm if asked for, linear, then a map.

    The weight starts orthogonal and the bias at zero, as in the code of Hyp and of HIER.

    Attributes:
        layer_norm: Without parameters, epsilon 1e-5; or the identity.
        linear: The linear layer.
        onto: Where the result is mapped, a ball or a sphere.
    """

    def __init__(
        self,
        num_features: int,
        dim: int,
        *,
        onto: Callable[[Tensor], Tensor],
        layer_norm: bool,
        generator: torch.Generator,
    ) -> None:
        """Draw the weight from `generator`."""
        super().__init__()
        self.layer_norm = (
            nn.LayerNorm(num_features, eps=1e-5, elementwise_affine=False)
            if layer_norm
            else nn.Identity()
        )
        # made without values, because torch would draw them from its global stream
        linear = nn.Linear(num_features, dim, device="meta").to_empty(device=generator.device)
        nn.init.orthogonal_(linear.weight, generator=generator)
        nn.init.zeros_(linear.bias)
        self.linear = linear
        self.onto = onto

    def forward(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b d"]:
        """Return the embeddings of pooled features."""
        return self.onto(self.linear(self.layer_norm(features)))
