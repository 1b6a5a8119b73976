"""Batches of whole classes, every class once an epoch.

Shapes: N training rows, C classes, B batch, m rows of a class in a batch.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from harness.api import SamplerContext, derive_seed
from harness.kit.batches import check_enough_classes, classes_per_batch, rows_by_class


class ClassPasses:
    """Visit all classes in random order, with m rows each, and cut the visit into batches.

    An epoch is one pass of floor(C m / B) batches, so with B = C m it is a single step; classes
    left over wait for the next pass. Where the protocol asks for a number of batches, epochs are
    windows of an endless sequence of passes. Rows are drawn without replacement, unless a class
    has fewer than m.

    Raises:
        HarnessError: m does not divide B, or there are fewer than B / m classes.
    """

    def __init__(self, context: SamplerContext, *, m: int, class_seed: int | None) -> None:
        check_enough_classes(context, m)
        self._rows = rows_by_class(context.labels)
        self._m = m
        self._class_seed = class_seed
        self._per_batch = classes_per_batch(context, m)
        self._per_pass = len(self._rows) // self._per_batch
        self._per_epoch = context.iterations or self._per_pass
        self._seed = context.seed

    def batches(self, epoch: int) -> Iterator[list[int]]:
        """Yield the batches of an epoch, rows of one class next to each other."""
        number, end = epoch * self._per_epoch, (epoch + 1) * self._per_epoch
        while number < end:
            visit, first = divmod(number, self._per_pass)
            order = self.class_order(visit)
            random = np.random.default_rng(derive_seed(self._seed, "batches", visit))
            drawn = [self._draw(self._rows[index], random) for index in order]
            for start in range(first, min(self._per_pass, first + end - number)):
                chosen = drawn[start * self._per_batch : (start + 1) * self._per_batch]
                yield [row for rows in chosen for row in rows]
                number += 1

    def class_order(self, visit: int) -> list[int]:
        """Return the order of the classes in a pass, as positions in the sorted labels."""
        seed = (
            derive_seed(self._seed, "classes", visit)
            if self._class_seed is None
            else self._class_seed * 10_000 + visit  # as the authors' code seeds it
        )
        generator = torch.Generator().manual_seed(seed)
        return torch.randperm(len(self._rows), generator=generator).tolist()

    def _draw(self, rows: np.ndarray, random: np.random.Generator) -> list[int]:
        return random.choice(rows, size=self._m, replace=len(rows) < self._m).tolist()
