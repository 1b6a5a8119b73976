"""Checks of a batch sampler."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from harness.contracts import Sampler, SamplerContext
from harness.specs import Params, SamplerSpec
from harness.testing.conformance.report import NotApplicableError

BATCH_SIZE = 12
NUM_BATCHES, NUM_EPOCHS = 5, 10
MOST_BATCHES = 200
Batches = list[list[int]]


def toy_labels() -> np.ndarray:
    """Return labels of 12 classes, of 8 rows each but one of 3, in no order."""
    labels = np.repeat(np.arange(12, dtype=np.int64), [8] * 11 + [3])
    return np.random.default_rng(4).permutation(labels)


@dataclass(frozen=True, slots=True)
class SamplerTrial:
    """A sampler under test."""

    card: SamplerSpec
    params: Params

    def build(self, *, seed: int = 0, iterations: int | None = NUM_BATCHES) -> Sampler:
        """Return the sampler over the toy labels."""
        context = SamplerContext(toy_labels(), BATCH_SIZE, iterations, seed)
        return self.card.build(self.params, context)

    def epoch(self, epoch: int, *, seed: int = 0, iterations: int | None = NUM_BATCHES) -> Batches:
        """Return one epoch of a new sampler."""
        return as_lists(self.build(seed=seed, iterations=iterations).batches(epoch))


def as_lists(batches: Iterable[Sequence[int]]) -> Batches:
    """Return plain lists of what a sampler yields, cut off where it would never end."""
    return [[int(row) for row in batch] for batch in islice(batches, MOST_BATCHES)]


def batches_hold_rows_of_the_training_part(trial: SamplerTrial) -> str | None:
    """Expect batches of the asked size, of rows that exist, in every epoch."""
    passes = [(0, None), *((epoch, NUM_BATCHES) for epoch in range(NUM_EPOCHS))]
    for epoch, iterations in passes:
        batches = trial.epoch(epoch, iterations=iterations)
        if not batches:
            return "an epoch has no batch"
        if len(batches) == MOST_BATCHES:
            return f"an epoch of {len(toy_labels())} rows does not end"
        sizes = sorted({len(batch) for batch in batches})
        if sizes != [BATCH_SIZE]:
            return f"batches have {', '.join(map(str, sizes))} rows instead of {BATCH_SIZE}"
        strange = [row for batch in batches for row in batch if not 0 <= row < len(toy_labels())]
        if strange:
            return f"row {strange[0]} of {len(toy_labels())}"
    return None


def asked_number_of_batches_is_kept(trial: SamplerTrial) -> str | None:
    """Expect as many batches in an epoch as the protocol asks for."""
    found = [len(trial.epoch(epoch)) for epoch in (0, 1)]
    return None if found == [NUM_BATCHES] * 2 else f"{found} batches instead of {NUM_BATCHES}"


def an_epoch_depends_on_seed_and_number_alone(trial: SamplerTrial) -> str | None:
    """Expect epoch 2 to be the same whether or not others were asked for before it."""
    sampler = trial.build()
    for epoch in (0, 1):
        as_lists(sampler.batches(epoch))
    if as_lists(sampler.batches(2)) != trial.epoch(2):
        return "epoch 2 is another one after epochs 0 and 1 than on its own"
    return None if as_lists(sampler.batches(0)) == trial.epoch(0) else "epoch 0 cannot be repeated"


def epochs_and_seeds_differ(trial: SamplerTrial) -> str | None:
    """Expect other batches in the next epoch, and with another seed."""
    first = trial.epoch(0)
    if trial.epoch(1) == first:
        return "epoch 1 is epoch 0 again"
    return "the seed changes nothing" if trial.epoch(0, seed=1) == first else None


def global_streams_change_nothing(trial: SamplerTrial) -> str | None:
    """Expect the same batches whatever state the streams of random, numpy and torch are in."""
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        one, other = (_under_global_seed(trial, seed) for seed in (1, 2))
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002
        torch.set_rng_state(kept[2])
    return None if one == other else "batches follow a global stream"


def _under_global_seed(trial: SamplerTrial, seed: int) -> Batches:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)
    return trial.epoch(0)


def promised_images_per_class_are_there(trial: SamplerTrial) -> str | None:
    """Expect as many rows of each class in a batch as the declared parameter says."""
    name = trial.card.images_per_class
    if not name:
        raise NotApplicableError("the card promises no number of images per class")
    promised, labels = getattr(trial.params, name), toy_labels()
    for batch in trial.epoch(0):
        counts: Sequence[int] = list(Counter(labels[batch].tolist()).values())
        if set(counts) != {promised}:
            return f"{sorted(counts)} images of a class in a batch instead of {promised}"
    return None


SAMPLER_CHECKS = (
    batches_hold_rows_of_the_training_part,
    asked_number_of_batches_is_kept,
    an_epoch_depends_on_seed_and_number_alone,
    epochs_and_seeds_differ,
    global_streams_change_nothing,
    promised_images_per_class_are_there,
)
