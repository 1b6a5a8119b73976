"""Searching and sorting; on a CPU by NumPy, which is several times faster at it than torch.

Shapes: B rows, C columns, P places.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import NDArray
from torch import Tensor

from harness.evaluation import scanning

_WORD = 8  # flags that are read at once
_SPARSE = 32  # flags for each one that is true, from which on reading words is quicker


def kth_largest_peak(scores: Float[Tensor, "b c"], k: int, group: int) -> Float[Tensor, " b"]:
    """Return the k-largest of each row's peaks, k from 1.

    A peak is the largest of `group` scores that lie C / group columns apart; the group divides C.
    """
    if scanning.scannable(scores):
        return scanning.kth_largest_peak(scores, k, group)
    if scores.device.type != "cpu":
        return _peaks(scores, group).topk(k, sorted=False).values.amin(1)
    if scores.dtype != torch.bfloat16:
        return _kth_largest(_peaks(scores, group), k)
    bits = scores.view(torch.int16)
    top = _kth_largest(_peaks(bits, group), k)
    if int(top.min()) <= 0:
        top = _mirrored(_kth_largest(_peaks(_mirrored(bits), group), k))
    return top.view(torch.bfloat16)


def _peaks(scores: Shaped[Tensor, "b c"], group: int) -> Shaped[Tensor, "b l"]:
    return scores if group == 1 else scores.unflatten(1, (group, -1)).amax(1)


def _kth_largest(scores: Shaped[Tensor, "b c"], k: int) -> Shaped[Tensor, " b"]:
    place = scores.shape[1] - k
    return torch.from_numpy(np.partition(scores.numpy(), place, axis=1)[:, place].copy())


def list_at_least(
    scores: Float[Tensor, "b c"], level: Float[Tensor, " b"], *, most: float
) -> tuple[Int[Tensor, " b"], Int[Tensor, " p"], Float[Tensor, " p"]] | None:
    """Return how many scores of each row are at or above its level, their columns, and they.

    None when there are more than `most`.
    """
    if scanning.scannable(scores):
        return scanning.at_least(scores, level, most=most)
    mask = at_least(scores, level)
    if num_true(mask) > most:
        return None
    row, columns = places(mask)
    found = scores.reshape(-1).index_select(0, row * scores.shape[1] + columns)
    return torch.bincount(row, minlength=len(level)), columns, found


def at_least(scores: Float[Tensor, "b c"], level: Float[Tensor, " b"]) -> Bool[Tensor, "b c"]:
    """Return which scores are at or above the level of their row."""
    if scores.device.type != "cpu":
        return scores >= level.unsqueeze(1)
    if scores.dtype == torch.bfloat16:
        level = level.masked_fill(level == 0, -0.0)  # as an integer, it is below the other zero
        scores, level = scores.view(torch.int16), level.view(torch.int16)
        if int(level.min()) <= 0:
            scores, level = _mirrored(scores), _mirrored(level)
    return torch.from_numpy(np.greater_equal(scores.numpy(), level.unsqueeze(1).numpy()))


def _mirrored(bits: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    """Turn bfloat16 read as integers, which descend below zero, into ascending ones, and back.

    NumPy knows no bfloat16 and torch is slow at it. Where only what is above zero matters, the
    integers do as they are.
    """
    return bits ^ ((bits >> 15) & 0x7FFF)


def all_finite(values: Float[Tensor, "b c"]) -> bool:
    """Return whether no value is NaN or infinite."""
    if values.device.type != "cpu":
        return bool(values.isfinite().all())
    return bool(np.isfinite(values.numpy(force=True)).all())


def num_true(mask: Bool[Tensor, "b c"]) -> int:
    """Return how many are true."""
    if mask.device.type != "cpu":
        return int(mask.count_nonzero())
    return int(np.count_nonzero(mask.numpy()))


def places(mask: Bool[Tensor, "b c"]) -> tuple[Int[Tensor, " p"], Int[Tensor, " p"]]:
    """Return row and column of everything that is true, row by row."""
    if mask.device.type != "cpu":
        row, column = mask.nonzero(as_tuple=True)
        return row, column
    flat = _places_in_memory(mask.numpy().reshape(-1))
    row = flat // mask.shape[1]
    return torch.from_numpy(row), torch.from_numpy(flat - row * mask.shape[1])


def _places_in_memory(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    if len(flags) % _WORD or _SPARSE * np.count_nonzero(flags) > len(flags):
        return np.flatnonzero(flags)
    words = flags.view(np.uint64)
    found = np.flatnonzero(words != 0)
    inside = np.flatnonzero(words[found].view(np.bool_))
    return found[inside // _WORD] * _WORD + (inside & (_WORD - 1))


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
