"""Compiled scans of scores and of lists on a CPU; where they are missing, torch does the same.

Shapes: B rows, queries; C columns; P pairs; M places of a list; G gallery; K columns of factors.
"""

from __future__ import annotations

import ctypes
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import BFloat16, Bool, Float32, Float64, Int, Int64
from torch import Tensor

from harness.native import library

if TYPE_CHECKING:
    from harness.evaluation.pairs import Listed, Ordered

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
    lists = (_LONG, _LONG, *[_POINTER] * 4)  # queries, width, rows, scores, labels of both sides
    functions.flag_doubtful.argtypes = (*lists, _POINTER, _LONG, _POINTER)
    functions.sum_precision.argtypes = (*lists, _POINTER, _LONG, *[_POINTER] * 3)
    functions.pack_listed.argtypes = (
        *(_POINTER, _POINTER, _INT, _LONG, _LONG, _POINTER, _POINTER, _LONG, _POINTER),
    )
    return functions


class Labels(NamedTuple):
    """Classes of some queries and of the whole gallery."""

    query: Int64[Tensor, " b"]
    gallery: Int64[Tensor, " g"]


def compiled_for(device: torch.device) -> bool:
    """Return whether there are compiled functions for what lies on a device."""
    return device.type == "cpu" and compiled() is not None


def scannable(scores: Tensor) -> bool:
    """Return whether the compiled functions take a block of scores."""
    return (
        scores.dtype == torch.bfloat16
        and scores.stride(1) == 1
        and scores.shape[1] % _WORD == 0
        and compiled_for(scores.device)
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


def packed(
    query: Float32[Tensor, "b k"], gallery: Float32[Tensor, "c k"], listed: Listed
) -> Int64[Tensor, "b m"]:
    """Return scores and rows of listed pairs as the keys of `pairs.ordered`."""
    longest = max(1, int(listed.counts.max())) if len(listed.counts) else 1
    keys = torch.empty(len(query), longest, dtype=torch.long)
    query, gallery = query.contiguous(), gallery.contiguous()
    counts, rows = listed.counts.contiguous(), listed.rows.contiguous()
    status = _functions().pack_listed(
        *(query.data_ptr(), gallery.data_ptr(), query.shape[1], len(query), len(gallery)),
        *(counts.data_ptr(), rows.data_ptr(), longest, keys.data_ptr()),
    )
    _check(status)
    return keys


def doubtful(
    found: Ordered, labels: Labels, error: Float64[Tensor, " b"], neighbors: int
) -> Bool[Tensor, "b m"]:
    """Return which places exact scores have to order; see `settling.settle`."""
    flags = torch.empty(found.rows.shape, dtype=torch.bool)
    with _lists(found, labels) as lists:
        error = error.contiguous()
        _functions().flag_doubtful(*lists, error.data_ptr(), neighbors, flags.data_ptr())
    return flags


def precision(
    nearest: Ordered, labels: Labels, relevant: Int64[Tensor, " b"], cutoff: int
) -> tuple[Int64[Tensor, " b"], Int64[Tensor, " b"], tuple[Float64[Tensor, " b"], ...]]:
    """Return rank of the first hit (0 without any), hits among the first R, and precision sums.

    The sums are over the hits among the first R, R + 1 and `cutoff`.
    """
    relevant = relevant.contiguous()
    first, hits = torch.empty_like(relevant), torch.empty_like(relevant)
    sums = torch.empty(3, len(relevant), dtype=torch.float64)
    with _lists(nearest, labels) as lists:
        _functions().sum_precision(
            *(*lists, relevant.data_ptr(), cutoff),
            *(first.data_ptr(), hits.data_ptr(), sums.data_ptr()),
        )
    return first, hits, tuple(sums)


@contextmanager
def _lists(found: Ordered, labels: Labels) -> Generator[tuple[int, ...]]:
    """Yield what C knows as lists, and keep alive what it points to."""
    parts = [found.rows, found.scores.double(), labels.query, labels.gallery]
    parts = [part.contiguous() for part in parts]
    yield (*found.rows.shape, *(part.data_ptr() for part in parts))


def _functions() -> ctypes.CDLL:
    functions = compiled()
    assert functions is not None
    return functions


def _block(scores: Tensor) -> tuple[int, int, int, int]:
    return scores.data_ptr(), len(scores), scores.shape[1], scores.stride(0)


def _check(status: int) -> None:
    if status:
        raise MemoryError
