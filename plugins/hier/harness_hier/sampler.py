"""HIER's batches: a few images of some classes.

Shapes: N training rows, C classes, B batch, m rows of a class in a batch.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.api import SamplerContext, derive_seed
from harness.kit.batches import Rows, check_enough_rows, classes_per_batch, rows_by_class


class ImagesPerClass:
    """Fill each batch with m rows of each of B / m classes; rows may repeat, as published.

    Classes are drawn without replacement while there are enough. The authors' code seeds NumPy's
    legacy generator with 10000 b + e for batch b of epoch e, in every run; with
    `published_classes` the classes are those, taken from the classes in order of first
    appearance. Rows are drawn from the run's seed, with replacement. One pass is floor(N / B)
    batches.

    Raises:
        HarnessError: m does not divide B, or a pass has no batch.
    """

    def __init__(self, context: SamplerContext, *, m: int, published_classes: bool) -> None:
        if context.iterations is None:
            check_enough_rows(context)
        self._num_chosen = classes_per_batch(context, m)
        rows = rows_by_class(context.labels)
        self._rows = sorted(rows, key=lambda of_class: int(of_class[0]))  # by first appearance
        self._m = m
        self._published = published_classes
        self._per_epoch = context.iterations or len(context.labels) // context.batch_size
        self._seed = context.seed

    def batches(self, epoch: int) -> Iterator[list[int]]:
        """Yield the batches of an epoch, rows of one class next to each other."""
        random = np.random.default_rng(derive_seed(self._seed, "batches", epoch))
        for number in range(self._per_epoch):
            yield [
                row
                for index in self._classes(epoch, number)
                for row in self._draw(self._rows[index], random)
            ]

    def _classes(self, epoch: int, number: int) -> Rows:
        seed = (
            number * 10_000 + epoch
            if self._published
            else derive_seed(self._seed, "classes", epoch, number) % 2**32
        )
        # the generator of the authors' code; its draws are frozen by NumPy's promise
        legacy = np.random.RandomState(seed)
        count = len(self._rows)
        return legacy.choice(count, self._num_chosen, replace=self._num_chosen > count)

    def _draw(self, rows: Rows, random: np.random.Generator) -> list[int]:
        return random.choice(rows, size=self._m, replace=True).tolist()
