"""Losses and miners on toy batches.

Shapes: B batch, D embedding, F features.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.contracts import (
    Batch,
    BuildContext,
    LossParts,
    Miner,
    Progress,
    Tuples,
)
from harness.kit.pairs import all_pairs, all_triplets
from harness.specs import LossSpec, MinerSpec, Params, TupleSort

NUM_CLASSES, EMBEDDING_DIM, FEATURE_DIM = 6, 16, 24
BALANCED = (0, 0, 0, 0, 2, 2, 2, 2, 3, 3, 3, 3, 5, 5, 5, 5)
ONE_CLASS = (2,) * 8
SINGLETONS = (0, 1, 2, 3, 4, 5)
UNEVEN = (0, 0, 0, 0, 0, 1, 1, 4)
ONE_IMAGE = (3,)


@dataclass(frozen=True, slots=True)
class LossTrial:
    """A loss under test: builds it, and runs it on toy batches."""

    card: LossSpec
    params: Params

    def build(
        self, seed: int = 0, *, dtype: torch.dtype = torch.float64, generator: object = None
    ) -> LossParts:
        """Return the loss with weights drawn from `generator`, else from one of this seed."""
        given = generator if isinstance(generator, torch.Generator) else _generator(seed)
        parts = self.card.build(self.params, context(given))
        parts.objective.to(dtype)
        return parts

    def batch(
        self, labels: Sequence[int] = BALANCED, *, dtype: torch.dtype = torch.float64
    ) -> Batch:
        """Return a batch; embeddings are a leaf, and tuples are there where mining is required.

        A loss that brings a head sees embeddings of that head.
        """
        batch = toy_batch(labels, dtype=dtype)
        head = self.build(dtype=dtype).head
        if head is not None and batch.features is not None:
            with torch.no_grad():
                embeddings = head.to(dtype)(batch.features)
            batch = replace(batch, embeddings=embeddings.requires_grad_())
        if not self.card.mining_required:
            return batch
        return replace(batch, tuples=all_tuples(batch.labels, self.card.takes[0]))


@dataclass(frozen=True, slots=True)
class MinerTrial:
    """A miner under test."""

    card: MinerSpec
    params: Params

    def build(self, seed: int = 0) -> Miner:
        """Return the miner with a generator of this seed."""
        return self.card.build(self.params, context(_generator(seed)))


def context(generator: torch.Generator) -> BuildContext:
    """Return the facts of a small training."""
    return BuildContext(
        num_classes=NUM_CLASSES,
        embedding_dim=EMBEDDING_DIM,
        feature_dim=FEATURE_DIM,
        generator=generator,
        class_counts=(8,) * NUM_CLASSES,
        num_samples=8 * NUM_CLASSES,
        batch_size=len(BALANCED),
        total_epochs=2,
    )


def toy_batch(labels: Sequence[int] = BALANCED, *, dtype: torch.dtype = torch.float64) -> Batch:
    """Return a batch with random values that every dtype down to bfloat16 holds exactly."""
    generator = _generator(11)
    size = len(labels)

    def values(width: int) -> Tensor:
        drawn = torch.randn(size, width, generator=generator)
        return drawn.bfloat16().to(dtype)

    embeddings = values(EMBEDDING_DIM).requires_grad_()
    return Batch(embeddings, torch.tensor(labels), values(FEATURE_DIM), torch.arange(size))


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@contextmanager
def global_stream(seed: int) -> Generator[None]:
    """Seed torch's global stream for a while, and put it back as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def loss_of(parts: LossParts, batch: Batch, *, seed: int = 0) -> Tensor:
    """Return the scalar to minimise; `seed` is that of the global stream meanwhile."""
    with global_stream(seed):
        return scalar(parts.objective(batch, Progress()))


def scalar(terms: Tensor | Mapping[str, Tensor]) -> Tensor:
    """Return what is to be minimised of what an objective gave."""
    return terms["loss"] if isinstance(terms, Mapping) else terms


def problem_with(loss: Tensor, batch: Batch) -> str | None:
    """Return why a loss cannot be trained with, or None."""
    if loss.ndim != 0:
        return f"the loss has shape {tuple(loss.shape)}, not that of a number"
    if not loss.isfinite():
        return f"the loss is {loss.item()}"
    if not loss.requires_grad:
        return "the loss is not connected to the embeddings"
    (gradient,) = torch.autograd.grad(loss, [batch.embeddings], materialize_grads=True)
    return None if gradient.isfinite().all() else "a gradient is not finite"


def all_tuples(labels: Tensor, sort: TupleSort) -> Tuples:
    """Return every pair or triplet of a batch."""
    return all_pairs(labels) if sort == "pairs" else all_triplets(labels)


def moved(batch: Batch, device: str) -> Batch:
    """Return the batch on another device; its embeddings are a leaf there."""

    def at(value: Tensor | None) -> Tensor | None:
        return None if value is None else value.to(device)

    tuples = batch.tuples and type(batch.tuples)(*(index.to(device) for index in batch.tuples))
    return Batch(
        batch.embeddings.detach().to(device).requires_grad_(),
        batch.labels.to(device),
        at(batch.features),
        at(batch.sample_index),
        tuples,
    )
