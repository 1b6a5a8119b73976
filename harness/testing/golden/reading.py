"""From the lists of a case to tensors, tuples and batches."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import Tensor

from harness.contracts import Batch, Triplets
from harness.testing.golden.cases import Case, ReplayError
from harness.testing.golden.comparing import array


def tensor(values: Any, dtype: torch.dtype | None = None) -> Tensor:  # noqa: ANN401 - JSON
    """Return the tensor of a JSON list; None keeps integers int64 and booleans bool.

    `"NaN"` and `"Infinity"` are numbers.
    """
    found = array(values)
    if found is None:
        raise ReplayError(f"not an array of numbers: {str(values)[:60]}")
    return torch.tensor(found, dtype=dtype)


def leaf(values: Any, dtype: torch.dtype) -> Tensor:  # noqa: ANN401 - JSON
    """Return a tensor that gradients are taken of."""
    return tensor(values, dtype).requires_grad_()


def tuples_of(case: Case, name: str = "triplets") -> Triplets | None:
    """Return the (T, 3) rows of an input as index tensors; None where the case has none."""
    if name not in case.inputs:
        return None
    anchor, positive, negative = tensor(case.inputs[name]).reshape(-1, 3).long().T
    return Triplets(anchor, positive, negative)


def batch_of(case: Case, dtype: torch.dtype) -> Batch:
    """Return the `embeddings`, `labels` and `triplets` of a case; embeddings are a leaf."""
    labels = tensor(case.inputs["labels"])
    embeddings = leaf(case.inputs["embeddings"], dtype)
    return Batch.of(embeddings, labels, tuples=tuples_of(case))


def refuse_unknown(given: Iterable[str], known: Collection[str], *, what: str = "inputs") -> None:
    """Raise a ReplayError that lists names no adapter may ignore."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ReplayError(f"unknown {what}: {', '.join(unknown)}")
