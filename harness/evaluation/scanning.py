"""Compiled scans of bfloat16 scores on a CPU; `kernels` does the same where they are missing.

Shapes: B rows, C columns, P pairs.
"""

from __future__ import annotations

import ctypes
from functools import cache

import torch
from jaxtyping import BFloat16, Int
from torch import Tensor

from harness.native import library

_POINTER, _LONG, _INT = ctypes.c_void_p, ctypes.c_long, ctypes.c_int
_BLOCK = (_POINTER, _LONG, _INT, _LONG)  # scores, rows, columns, stride
_WORD = 8  # columns come in multiples of it


@cache
def compiled() -> ctypes.CDLL | None:
    """Return the functions, with their types; None where there was no compiler."""
    functions = library("scanning")
    if functions is None:
        return None
    functions.kth_largest_peaks.argtypes = (*_BLOCK, _INT, _INT, _POINTER)
    functions.count_at_least.argtypes = (*_BLOCK, _POINTER, _POINTER)
    functions.count_at_least.restype = _LONG
    functions.list_at_least.argtypes = (*_BLOCK, _POINTER, _POINTER, _POINTER)
    return functions


def scannable(scores: Tensor) -> bool:
    """Return whether the compiled functions take a block of scores."""
    return (
        scores.dtype == torch.bfloat16
        and scores.device.type == "cpu"
        and scores.stride(1) == 1
        and scores.shape[1] % _WORD == 0
        and compiled() is not None
    )


def kth_largest_peak(
    scores: BFloat16[Tensor, "b c"], k: int, group: int
) -> BFloat16[Tensor, " b"]:
    """Return the k-largest of each row's peaks; see `kernels`."""
    top = scores.new_empty(len(scores))
    _check(_functions().kth_largest_peaks(*_block(scores), k, group, top.data_ptr()))
    return top


def at_least(
    scores: BFloat16[Tensor, "b c"], level: BFloat16[Tensor, " b"], *, most: float
) -> tuple[Int[Tensor, " b"], Int[Tensor, " p"], BFloat16[Tensor, " p"]] | None:
    """Return how many scores of each row are at or above its level, their columns, and they.

    None when there are more than `most`.
    """
    level = level.contiguous()
    counts = torch.empty(len(scores), dtype=torch.long)
    total = _functions().count_at_least(*_block(scores), level.data_ptr(), counts.data_ptr())
    if total > most:
        return None
    columns = torch.empty(total + 1, dtype=torch.long)
    values = scores.new_empty(total + 1)
    places = columns.data_ptr(), values.data_ptr()
    _check(_functions().list_at_least(*_block(scores), level.data_ptr(), *places))
    return counts, columns[:total], values[:total]


def _functions() -> ctypes.CDLL:
    functions = compiled()
    assert functions is not None
    return functions


def _block(scores: Tensor) -> tuple[int, int, int, int]:
    return scores.data_ptr(), len(scores), scores.shape[1], scores.stride(0)


def _check(status: int) -> None:
    if status:
        raise MemoryError
