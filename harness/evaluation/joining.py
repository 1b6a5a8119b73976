"""Several models as one: their embeddings side by side.

Shapes: N samples, D embedding of one model.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.store.columns import Array
from harness.store.embeddings import Side

_TINY = np.finfo(np.float64).tiny  # a zero vector stays zero


def concatenate(sides: Mapping[str, Side]) -> Side:
    """Return one side: each model's embeddings L2-normalised, joined, and normalised again.

    This is the "concatenated" of arXiv:2003.08505 (`ConcatenateEmbeddings` of its code). Computed
    in float64. What it scores is an ensemble, and no model of that many dimensions.

    Args:
        sides: Of each model, the same samples in the same order; the names are for messages.

    Raises:
        HarnessError: The samples of one model are not those of the first; it is named.
    """
    (first_name, first), *others = sides.items()
    for name, side in others:
        for what in ("sample_ids", "labels"):
            if not np.array_equal(getattr(first, what), getattr(side, what)):
                raise HarnessError(
                    f"{name} has other {what.replace('_', ' ')} than {first_name}, or in another "
                    "order: models are joined sample by sample",
                    hint="do both runs again with --save-embeddings --existing always",
                )
    joined = np.concatenate([_unit(side.embeddings) for side in sides.values()], axis=1)
    return Side(_unit(joined), first.labels, first.sample_ids)


def _unit(values: Array) -> NDArray[np.float64]:
    """Return (N, D) rows of length 1."""
    exact = np.asarray(values, np.float64)
    return exact / np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), _TINY)
