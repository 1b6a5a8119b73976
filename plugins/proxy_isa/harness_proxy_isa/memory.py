"""The queue of past embeddings, as published and as a plain ring.

Neither makes the host wait: how many rows of a batch are kept is known to the device alone.

Shapes: B batch, D embedding, T slots of the memory.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from harness.api import HarnessError


class PublishedMemory(nn.Module):
    """The authors' queue, which is not quite a ring.

    A batch that does not fit behind the pointer overwrites the last slots and sends the pointer
    to the start, so the oldest rows are not always the ones that go. And the queue takes itself
    for full when the label in its last slot is not 0: after a batch whose last label is 0 ended
    there, only the slots before the pointer count, which are none right after the wrap.
    """

    EMPTY = 0  # label of a slot that nothing was written to

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(size, dim))
        self.register_buffer("targets", torch.full((size,), self.EMPTY))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self.features: Tensor
        self.targets: Tensor
        self.pointer: Tensor

    def filled(self) -> Bool[Tensor, " t"]:
        """Return which slots hold a remembered embedding."""
        slots = torch.arange(len(self.targets), device=self.targets.device)
        return self.is_full() | (slots < self.pointer)

    def is_full(self) -> Bool[Tensor, ""]:
        """Return whether every slot counts."""
        return self.targets[-1] != self.EMPTY

    def write(
        self, features: Float[Tensor, "b d"], labels: Int[Tensor, " b"], kept: Bool[Tensor, " b"]
    ) -> None:
        """Remember the kept rows of a batch, in order.

        Raises:
            HarnessError: The batch is larger than the memory.
        """
        size, count = len(self.targets), kept.sum()
        fits = self.pointer + count <= size
        start = torch.where(fits, self.pointer, size - count)
        self._replace(start, features, labels, kept)
        self.pointer.copy_(torch.where(fits, self.pointer + count, 0))

    def _replace(
        self,
        start: Int[Tensor, ""],
        features: Float[Tensor, "b d"],
        labels: Int[Tensor, " b"],
        kept: Bool[Tensor, " b"],
    ) -> None:
        """Write the kept rows to consecutive slots from `start` on.

        As many slots are touched as the batch has rows; those behind the kept rows are given what
        they hold already, so that no shape depends on `kept`.
        """
        rows, size = len(labels), len(self.targets)
        if rows > size:
            raise HarnessError(
                f"a batch of {rows} does not fit into a memory of {size}",
                hint=f"set loss.memory_size to {rows} or more",
            )
        order = (~kept).to(torch.int8).argsort(stable=True)  # kept rows first
        slots = (start + torch.arange(rows, device=labels.device)) % size
        is_new = kept[order]
        self.features[slots] = torch.where(
            is_new[:, None], features[order].to(self.features.dtype), self.features[slots]
        )
        self.targets[slots] = torch.where(is_new, labels[order], self.targets[slots])


class RingMemory(PublishedMemory):
    """A ring: the oldest rows go first, and a slot counts from the moment it is written to."""

    EMPTY = -1

    def filled(self) -> Bool[Tensor, " t"]:
        """Return which slots hold a remembered embedding."""
        return self.targets != self.EMPTY

    def write(
        self, features: Float[Tensor, "b d"], labels: Int[Tensor, " b"], kept: Bool[Tensor, " b"]
    ) -> None:
        """Remember the kept rows of a batch, in order.

        Raises:
            HarnessError: The batch is larger than the memory.
        """
        self._replace(self.pointer, features, labels, kept)
        self.pointer.copy_((self.pointer + kept.sum()) % len(self.targets))
