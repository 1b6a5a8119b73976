"""Searching and sorting; on a CPU by NumPy, which is several times faster at it than torch.

Shapes: B rows, C columns, P places.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def kth_largest(scores: Float[Tensor, "b c"], k: int) -> Float[Tensor, " b"]:
    """Return the k-largest score of each row, k from 1."""
    if scores.device.type != "cpu":
        return scores.topk(k, sorted=False).values.amin(1)
    place = scores.shape[1] - k
    return torch.from_numpy(np.partition(scores.numpy(), place, axis=1)[:, place].copy())


def at_least(scores: Float[Tensor, "b c"], level: Float[Tensor, " b"]) -> Bool[Tensor, "b c"]:
    """Return which scores are at or above the level of their row."""
    if scores.device.type != "cpu":
        return scores >= level.unsqueeze(1)
    return torch.from_numpy(np.greater_equal(scores.numpy(), level.unsqueeze(1).numpy()))


def places(mask: Bool[Tensor, "b c"]) -> tuple[Int[Tensor, " p"], Int[Tensor, " p"]]:
    """Return row and column of everything that is true, row by row."""
    if mask.device.type != "cpu":
        row, column = mask.nonzero(as_tuple=True)
        return row, column
    flat = torch.from_numpy(np.flatnonzero(mask.numpy()))
    row = flat // mask.shape[1]
    return row, flat - row * mask.shape[1]


def ascending(keys: Int[Tensor, "b c"]) -> Int[Tensor, "b c"]:
    """Return each row in ascending order."""
    if keys.device.type != "cpu":
        return keys.sort(dim=1).values
    return torch.from_numpy(np.sort(keys.numpy(), axis=1))


def descending_order(scores: Float[Tensor, "b c"]) -> Int[Tensor, "b c"]:
    """Return the columns of each row from the largest score to the smallest, ties in any order."""
    if scores.device.type != "cpu":
        return scores.argsort(dim=1, descending=True)
    return torch.from_numpy(np.argsort(-scores.numpy(), axis=1))


def repeated(
    values: Int[Tensor, " b"], counts: Int[Tensor, " b"], total: int
) -> Int[Tensor, " p"]:
    """Return each value as often as its count says; `total` is the sum of the counts."""
    if values.device.type != "cpu":
        return values.repeat_interleave(counts, output_size=total)
    return torch.from_numpy(np.repeat(values.numpy(), counts.numpy()))


def grouped_order(groups: Int[Tensor, " p"]) -> Int[Tensor, " p"]:
    """Return the order that sorts group numbers, none above 65,535, and keeps what is equal."""
    if groups.device.type != "cpu":
        return groups.argsort(stable=True)
    return torch.from_numpy(np.argsort(groups.numpy().astype(np.uint16), kind="stable"))
