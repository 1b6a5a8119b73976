"""Which rows of the training part make each batch.

Every draw comes from the stream (seed, "batches", n), where n numbers an epoch, a shuffle or a
pass, so that any epoch can be asked for first.

Shapes: N training rows, C classes, B batch, m rows of a class in a batch.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.contracts import SamplerContext
from harness.kit.batches import Rows, check_enough_classes, check_enough_rows, rows_by_class
from harness.seeding import derive_seed

LIST_LENGTH = 100_000  # rows of one list, from the sampler that arXiv:2003.08505 used


class RandomBatches:
    """Shuffle all rows and cut the shuffle into batches; rows left over wait for the next one.

    An epoch is one shuffle, or as many batches as the protocol asks for: epochs are then windows
    of an endless sequence of shuffles.

    Raises:
        HarnessError: There are fewer rows than a batch holds.
    """

    def __init__(self, context: SamplerContext) -> None:
        check_enough_rows(context)
        self._num_rows = len(context.labels)
        self._batch_size = context.batch_size
        self._per_shuffle = self._num_rows // context.batch_size
        self._per_epoch = context.iterations or self._per_shuffle
        self._seed = context.seed

    def batches(self, epoch: int) -> Iterator[list[int]]:
        """Yield the batches of an epoch; inside one shuffle no row occurs twice."""
        number, end = epoch * self._per_epoch, (epoch + 1) * self._per_epoch
        while number < end:
            shuffle, first = divmod(number, self._per_shuffle)
            order = _stream(self._seed, shuffle).permutation(self._num_rows)
            for index in range(first, min(self._per_shuffle, first + end - number)):
                yield order[index * self._batch_size : (index + 1) * self._batch_size].tolist()
                number += 1


class MPerClassBatches:
    """Fill each batch with exactly m rows of each of B / m classes.

    Classes are drawn without replacement, each batch on its own. The rows of a class are drawn
    without replacement too, unless `replacement` asks otherwise or the class has fewer than m.
    One pass is floor(N / B) batches.

    Raises:
        HarnessError: m does not divide B, there are too few classes, or a pass has no batch.
    """

    def __init__(self, context: SamplerContext, *, m: int, replacement: bool) -> None:
        _check_classes(context, m)
        self._rows = rows_by_class(context.labels)
        self._m = m
        self._replacement = replacement
        self._classes_per_batch = context.batch_size // m
        self._per_epoch = context.iterations or len(context.labels) // context.batch_size
        self._seed = context.seed

    def batches(self, epoch: int) -> Iterator[list[int]]:
        """Yield the batches of an epoch, rows of one class next to each other."""
        random = _stream(self._seed, epoch)
        for _ in range(self._per_epoch):
            chosen = random.permutation(len(self._rows))[: self._classes_per_batch]
            yield [row for label in chosen for row in self._draw(self._rows[label], random)]

    def _draw(self, rows: Rows, random: np.random.Generator) -> list[int]:
        """Return m rows of one class."""
        replace = self._replacement or len(rows) < self._m
        return random.choice(rows, size=self._m, replace=replace).tolist()


class MPerClassStream:
    """Cut one long list of passes over all classes into batches (arXiv:2003.08505, its code).

    A pass visits every class once, in random order, and emits m of its rows. A list holds as many
    whole passes as fit into 100,000 rows, at least one. Batches are cut from a list without
    regard to passes, so that one may straddle two passes and hold a class twice; what is left of
    a list is dropped. Epochs are windows of the endless sequence of batches.

    Raises:
        HarnessError: m does not divide B, there are too few classes, or a pass has no batch.
    """

    def __init__(self, context: SamplerContext, *, m: int, replacement: bool) -> None:
        _check_classes(context, m)
        self._labels = context.labels
        self._counts = np.unique(context.labels, return_counts=True)[1]
        self._m = m
        self._always_replace = replacement
        self._batch_size = context.batch_size
        self._per_epoch = context.iterations or len(context.labels) // context.batch_size
        self._pass_length = m * len(self._counts)
        self._passes_per_list = max(1, LIST_LENGTH // self._pass_length)
        self._per_list = self._passes_per_list * self._pass_length // context.batch_size
        self._seed = context.seed

    def batches(self, epoch: int) -> Iterator[list[int]]:
        """Yield the batches of an epoch."""
        number, end = epoch * self._per_epoch, (epoch + 1) * self._per_epoch
        while number < end:
            list_number, first = divmod(number, self._per_list)
            last = min(self._per_list, first + end - number)
            rows = self._cut(list_number, first * self._batch_size, last * self._batch_size)
            yield from rows.reshape(-1, self._batch_size).tolist()
            number += last - first

    def _cut(self, list_number: int, start: int, stop: int) -> Rows:
        """Return the rows [start, stop) of a list, making only the passes they lie in."""
        first, last = start // self._pass_length, -(-stop // self._pass_length)
        passes = [
            self._make_pass(list_number * self._passes_per_list + index)
            for index in range(first, last)
        ]
        offset = first * self._pass_length
        return np.concatenate(passes)[start - offset : stop - offset]

    def _make_pass(self, number: int) -> Rows:
        """Return m rows of each class, classes in random order; without a loop over classes."""
        random = _stream(self._seed, number)
        by_class = np.lexsort((random.random(len(self._labels)), self._labels))
        starts = np.cumsum(self._counts) - self._counts
        counts = self._counts[:, None]
        repeated = random.integers(counts, size=(len(starts), self._m))
        replace = self._always_replace | (counts < self._m)
        picks = np.where(replace, repeated, np.arange(self._m))
        return random.permutation(by_class[starts[:, None] + picks]).ravel()


def _stream(seed: int, number: int) -> np.random.Generator:
    """Return the generator of one epoch, shuffle or pass."""
    return np.random.default_rng(derive_seed(seed, "batches", number))


def _check_classes(context: SamplerContext, m: int) -> None:
    """Refuse a batch that cannot hold exactly m rows of each of its classes."""
    if context.iterations is None:
        check_enough_rows(context)
    check_enough_classes(context, m)
