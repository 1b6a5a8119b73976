"""Batches by chance: the samplers of every published run of Revisiting Training Strategies.

Classes are drawn with replacement, and so are the images of a class: of 56 draws among the 100
training classes of CUB about 43 differ, and where classes have few images a pair is often one
image twice, in two crops.

Draws are those of `random.Random`, one stream for each epoch, so that the authors' batches can be
replayed from their seeds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.api import SamplerContext, derive_seed
from harness.kit.batches import check_enough_rows, classes_per_batch, rows_by_class

ClassRows = Sequence[Sequence[int]]
Choose = Callable[[Sequence[int]], int]


def class_random_batch(rows: ClassRows, *, num_classes: int, m: int, choose: Choose) -> list[int]:
    """Return m rows of each of so many classes, both drawn with replacement.

    Args:
        rows: Rows of each class.
        num_classes: Classes to draw.
        m: Rows to draw of each.
        choose: Draws one of a sequence, uniformly.
    """
    batch: list[int] = []
    for _ in range(num_classes):
        label = choose(range(len(rows)))
        batch.extend(choose(rows[label]) for _ in range(m))
    return batch


def full_random_batch(
    rows: ClassRows,
    labels: NDArray[np.int64],
    *,
    size: int,
    choose: Choose,
    below: Callable[[int], int],
) -> list[int]:
    """Return `size - 1` rows, each of a class drawn anew, and one of the class of one of them.

    Args:
        rows: Rows of each class.
        labels: Position in `rows` of each row's class.
        size: Rows to draw.
        choose: Draws one of a sequence, uniformly.
        below: Draws a number in [0, n), uniformly.
    """
    batch: list[int] = []
    for _ in range(size - 1):
        members = rows[choose(range(len(rows)))]
        batch.append(members[below(len(members))])
    batch.append(choose(rows[labels[choose(batch)]]))
    return batch


class ClassRandomBatches:
    """Fill each batch with m rows of each of B / m classes, all drawn with replacement.

    An epoch has floor(N / B) batches unless the protocol says otherwise.

    Raises:
        HarnessError: m does not divide B, or an epoch has no batch.
    """

    def __init__(self, context: SamplerContext, *, m: int) -> None:
        self._rows = _lists(context)
        self._num_classes = classes_per_batch(context, m)
        self._m = m
        self._per_epoch = _batches_per_epoch(context)
        self._seed = context.seed

    def batches(self, epoch: int) -> Iterator[list[int]]:
        """Yield the batches of an epoch, rows of one draw of a class next to each other."""
        choose = _stream(self._seed, epoch).choice
        for _ in range(self._per_epoch):
            yield class_random_batch(
                self._rows, num_classes=self._num_classes, m=self._m, choose=choose
            )


class FullRandomBatches:
    """Fill each batch with rows of random classes, and see that one has a partner.

    The partner may be the row itself. An epoch has floor(N / B) batches unless the protocol says
    otherwise.

    Raises:
        HarnessError: An epoch has no batch.
    """

    def __init__(self, context: SamplerContext) -> None:
        self._rows = _lists(context)
        self._labels = np.unique(context.labels, return_inverse=True)[1]
        self._batch_size = context.batch_size
        self._per_epoch = _batches_per_epoch(context)
        self._seed = context.seed

    def batches(self, epoch: int) -> Iterator[list[int]]:
        """Yield the batches of an epoch."""
        source = _stream(self._seed, epoch)
        for _ in range(self._per_epoch):
            yield full_random_batch(
                self._rows,
                self._labels,
                size=self._batch_size,
                choose=source.choice,
                below=source.randrange,
            )


def _lists(context: SamplerContext) -> list[list[int]]:
    return [rows.tolist() for rows in rows_by_class(context.labels)]


def _batches_per_epoch(context: SamplerContext) -> int:
    if context.iterations is not None:
        return context.iterations
    check_enough_rows(context)
    return len(context.labels) // context.batch_size


def _stream(seed: int, epoch: int) -> random.Random:
    return random.Random(derive_seed(seed, "batches", epoch))  # noqa: S311 - no secret is drawn
