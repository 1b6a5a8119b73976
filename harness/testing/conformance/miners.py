"""Checks of a miner.

Shapes: B batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.contracts import Batch, Pairs, Progress, Triplets, Tuples
from harness.testing.conformance.batches import (
    BALANCED,
    ONE_CLASS,
    SINGLETONS,
    UNEVEN,
    MinerTrial,
    global_stream,
    moved,
    toy_batch,
)
from harness.testing.conformance.report import NotApplicableError, unless_refused


def tuples_are_valid(trial: MinerTrial) -> str | None:
    """Expect tuples of the promised sort, in range, each of the classes its name says."""
    return _problem(trial, BALANCED)


def uneven_classes_give_valid_tuples_or_an_error(trial: MinerTrial) -> str | None:
    """Expect the same of a batch in which some images have partners and one has none."""
    return unless_refused(lambda t: _problem(t, UNEVEN), trial)


def one_class_gives_valid_tuples_or_an_error(trial: MinerTrial) -> str | None:
    """Expect no negative out of nowhere when a batch has a single class."""
    return unless_refused(lambda t: _problem(t, ONE_CLASS), trial)


def singletons_give_valid_tuples_or_an_error(trial: MinerTrial) -> str | None:
    """Expect no positive out of nowhere when no image has a partner."""
    return unless_refused(lambda t: _problem(t, SINGLETONS), trial)


def _problem(trial: MinerTrial, labels: Sequence[int]) -> str | None:
    batch = toy_batch(labels, dtype=torch.float32)
    return tuple_problem(mined(trial, batch), batch.labels, trial.card.gives)


def mined(trial: MinerTrial, batch: Batch, *, build_seed: int = 0, global_seed: int = 0) -> Tuples:
    """Return what a new miner selects, as the training asks it to."""
    miner = trial.build(build_seed)
    with global_stream(global_seed), torch.no_grad():
        return miner(batch, Progress())


def tuple_problem(found: object, labels: Tensor, sort: str) -> str | None:
    """Return what is wrong with mined tuples, or None."""
    if not isinstance(found, Triplets if sort == "triplets" else Pairs):
        return f"the card promises {sort}, the miner returned {type(found).__name__}"
    if any(index.dtype != torch.int64 for index in found):
        return "indices are not int64"
    if any(index.numel() and not 0 <= index.min() <= index.max() < len(labels) for index in found):
        return "an index is outside the batch"
    triplets = isinstance(found, Triplets)
    anchors, positives = found[0], found[1]
    others, negatives = (anchors, found[2]) if triplets else (found[2], found[3])
    if len(anchors) != len(positives) or len(others) != len(negatives):
        return "index tensors differ in length"
    if (labels[anchors] != labels[positives]).any() or (anchors == positives).any():
        return "a positive is not another image of the anchor's class"
    return (
        "a negative is of the anchor's class"
        if (labels[others] == labels[negatives]).any()
        else None
    )


def inputs_are_left_as_they_are(trial: MinerTrial) -> str | None:
    """Expect that a miner writes into none of its inputs."""
    batch = toy_batch(dtype=torch.float32)
    before = batch.embeddings.detach().clone(), batch.labels.clone()
    mined(trial, batch)
    same = torch.equal(before[0], batch.embeddings), torch.equal(before[1], batch.labels)
    return None if all(same) else "embeddings or labels changed in place"


def draws_come_from_the_generator(trial: MinerTrial) -> str | None:
    """Expect the same tuples whatever state torch's global stream is in."""
    batch = toy_batch(dtype=torch.float32)
    first, second = (mined(trial, batch, global_seed=seed) for seed in (1, 2))
    if len(first) == len(second) and all(map(torch.equal, first, second)):
        return None
    return "tuples follow torch's global stream"


def float32_and_float64_give_the_same_tuples(trial: MinerTrial) -> str | None:
    """Expect equal tuples of embeddings that both dtypes hold exactly."""
    single, double = (
        mined(trial, toy_batch(dtype=dtype)) for dtype in (torch.float32, torch.float64)
    )
    if len(single) == len(double) and all(map(torch.equal, single, double)):
        return None
    return "tuples differ"


def the_gpu_gives_valid_tuples(trial: MinerTrial) -> str | None:
    """Expect valid tuples, on the GPU, from a batch that lies there."""
    if not torch.cuda.is_available():
        raise NotApplicableError("there is no GPU here")
    batch = moved(toy_batch(dtype=torch.float32), "cuda")
    found = mined(trial, batch)
    elsewhere = {index.device.type for index in found} - {"cuda"}
    if elsewhere:
        return f"indices are on {', '.join(sorted(elsewhere))}"
    return tuple_problem(found, batch.labels, trial.card.gives)


MINER_CHECKS = (
    tuples_are_valid,
    uneven_classes_give_valid_tuples_or_an_error,
    one_class_gives_valid_tuples_or_an_error,
    singletons_give_valid_tuples_or_an_error,
    inputs_are_left_as_they_are,
    draws_come_from_the_generator,
    float32_and_float64_give_the_same_tuples,
    the_gpu_gives_valid_tuples,
)
