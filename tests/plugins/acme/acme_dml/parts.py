"""Shapes: B batch, D embedding, F features, H height, W width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.api import Batch, HarnessError, Progress, SamplerContext, Triplets, derive_seed


class CosineTriplet(nn.Module):
    """Mean over triplets of max(0, cos(anchor, negative) - cos(anchor, positive) + margin)."""

    def __init__(self, margin: float) -> None:
        """Keep the margin."""
        super().__init__()
        self.margin = margin

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Return the loss, and the share of triplets that violate the margin."""
        assert isinstance(batch.tuples, Triplets)
        unit = functional.normalize(batch.embeddings)
        anchor, positive, negative = (unit[index] for index in batch.tuples)
        violation = ((anchor * (negative - positive)).sum(1) + self.margin).relu()
        if not len(violation):
            return {"loss": batch.embeddings.sum() * 0, "active": unit.new_zeros(())}
        return {"loss": violation.mean(), "active": (violation > 0).to(unit.dtype).mean()}


def every_triplet(batch: Batch, progress: Progress) -> Triplets:
    """Return all (anchor, positive, negative) of a batch."""
    same = batch.labels[:, None] == batch.labels[None, :]
    positive = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    return Triplets(*(positive[:, :, None] & ~same[:, None, :]).nonzero().unbind(1))


class ClassBlocks:
    """Batches of batch_size / m classes with m images each, drawn with replacement."""

    def __init__(self, m: int, context: SamplerContext) -> None:
        """Check that whole classes fill a batch."""
        self.m = m
        self.context = context
        self.classes = np.unique(context.labels)
        if context.batch_size % m or context.batch_size // m > len(self.classes):
            raise HarnessError(
                f"acme_blocks: batch size {context.batch_size} does not hold {m} images of each "
                f"of at most {len(self.classes)} classes"
            )

    def batches(self, epoch: int) -> Iterator[Sequence[int]]:
        """Yield the batches of one epoch."""
        labels, size = self.context.labels, self.context.batch_size
        random = np.random.default_rng(derive_seed(self.context.seed, "acme_blocks", epoch))
        for _ in range(self.context.iterations or len(labels) // size):
            classes = random.choice(self.classes, size // self.m, replace=False)
            rows = [random.choice(np.flatnonzero(labels == c), self.m) for c in classes]
            yield np.concatenate(rows).tolist()


class Patches(nn.Module):
    """Images (B, 1, H, W) -> features (B, 64)."""

    def __init__(self, side: int) -> None:
        """Make the hidden layer."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(side), nn.Flatten(), nn.Linear(side * side, 64), nn.ReLU()
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return features."""
        return self.layers(images)
