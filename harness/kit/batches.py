"""What batch samplers share: rows by class, and refusals of batches that cannot be filled.

Shapes: N training rows, B batch, m rows of a class in a batch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.contracts import SamplerContext
from harness.errors import HarnessError

Rows = NDArray[np.int64]


def rows_by_class(labels: Rows) -> list[Rows]:
    """Return the rows of each class, ascending, classes in label order."""
    counts = np.unique(labels, return_counts=True)[1]
    return np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])


def classes_per_batch(context: SamplerContext, m: int) -> int:
    """Return how many classes fill a batch with exactly m rows each.

    Raises:
        HarnessError: m does not divide B.
    """
    if context.batch_size % m:
        raise HarnessError(
            f"a batch of {context.batch_size} cannot hold exactly {m} images of each class",
            hint="set training.batch_size to a multiple of sampler.m",
        )
    return context.batch_size // m


def check_enough_classes(context: SamplerContext, m: int) -> None:
    """Refuse a batch that needs more classes than there are.

    Raises:
        HarnessError: m does not divide B, or there are fewer than B / m classes.
    """
    needed, found = classes_per_batch(context, m), len(np.unique(context.labels))
    if found < needed:
        raise HarnessError(
            f"a batch of {context.batch_size} with {m} images of each class needs {needed} "
            f"classes, the training part has {found}",
            hint=f"set training.batch_size to at most {found * m}, or raise sampler.m",
        )


def check_enough_rows(context: SamplerContext) -> None:
    """Refuse a training part that cannot fill one batch.

    Raises:
        HarnessError: N is less than B.
    """
    if len(context.labels) < context.batch_size:
        raise HarnessError(
            f"{len(context.labels)} training images cannot fill a batch of {context.batch_size}",
            hint=f"set training.batch_size to at most {len(context.labels)}",
        )
