"""What all criteria share: the module around a formula, and what formulas are made of.

Shapes: B batch, D embedding, T tuples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from harness.api import Batch, HarnessError, Pairs, Progress, Triplets
from harness.kit.labels import check_labels
from harness.kit.precision import full_precision

Formula = Callable[..., Tensor | Mapping[str, Tensor]]


class Criterion(nn.Module):
    """A loss that is a formula over a batch and the learnable weights it names.

    The formula is called as `formula(batch, **weights)`, never in half precision: distances of
    near neighbours and sums of exponentials do not survive it.
    """

    def __init__(
        self,
        formula: Formula,
        *,
        weights: Mapping[str, nn.Parameter] | None = None,
        num_classes: int | None = None,
    ) -> None:
        """Keep a formula.

        Args:
            formula: Returns the loss, or a mapping whose entry `loss` is the loss.
            weights: Learnable parameters under their names in the state.
            num_classes: C if weights are indexed by labels, which are then checked.
        """
        super().__init__()
        self.formula = formula
        self.num_classes = num_classes
        for name, weight in (weights or {}).items():
            self.register_parameter(name, weight)

    def forward(self, batch: Batch, progress: Progress) -> Tensor | Mapping[str, Tensor]:
        """Return the loss of a batch, with its terms if the formula has any.

        Raises:
            HarnessError: A label is out of range, or tuples are missing or of another sort.
        """
        if self.num_classes is not None:
            check_labels(batch.labels, self.num_classes)
        weights = dict(self.named_parameters())
        with full_precision(batch.embeddings) as embeddings:
            return self.formula(replace(batch, embeddings=embeddings), **weights)


def triplets_of(batch: Batch) -> Triplets:
    """Return the mined triplets of a batch; HarnessError if there are none."""
    if not isinstance(batch.tuples, Triplets):
        raise HarnessError(
            "this loss needs triplets from a miner", hint="--plugin rdml_distance, for instance"
        )
    return batch.tuples


def pairs_of(batch: Batch) -> Pairs:
    """Return the mined pairs of a batch; HarnessError if there are none."""
    if not isinstance(batch.tuples, Pairs):
        raise HarnessError("this loss needs pairs from a miner", hint="--plugin miner:rdml_npair")
    return batch.tuples


def pair_mask(left: Tensor, right: Tensor, *, size: int) -> Bool[Tensor, "b b"]:
    """Return a matrix that is true at the index pairs (left, right)."""
    mask = torch.zeros(size, size, dtype=torch.bool, device=left.device)
    return mask.index_put((left, right), mask.new_ones(()))


def mean(values: Float[Tensor, "*any"]) -> Float[Tensor, ""]:
    """Return the mean, and of nothing a zero that is connected to the graph."""
    return values.sum() / max(values.numel(), 1)


def mean_norm(embeddings: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """Return the mean length of the embeddings."""
    return mean(embeddings.norm(dim=1))
