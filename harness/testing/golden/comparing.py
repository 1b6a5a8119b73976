"""Differences between what a case expects and what a replay gave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from harness.testing.golden.cases import Tolerance


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Where a replay differs from a golden case."""

    place: str
    problem: str

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.place}: {self.problem}"


def compare(
    expected: Any,  # noqa: ANN401 - a JSON tree
    observed: Any,  # noqa: ANN401
    tolerance: Tolerance,
    *,
    place: str = "",
) -> Iterator[Mismatch]:
    """Yield the differences of two trees.

    Numbers agree within the tolerance; integers, booleans, words and nulls agree exactly. `"NaN"`,
    `"Infinity"` and `"-Infinity"` are numbers. Lists whose entries differ in length or hold
    mappings are compared entry by entry.
    """
    if isinstance(expected, Mapping):
        yield from _compare_mappings(expected, observed, tolerance, place)
    elif isinstance(expected, list) and array(expected) is None:
        observed = list(observed)
        if len(expected) != len(observed):
            yield Mismatch(place, f"{len(observed)} entries, {len(expected)} expected")
        for index, (value, other) in enumerate(zip(expected, observed, strict=False)):
            yield from compare(value, other, tolerance, place=f"{place}[{index}]")
    elif expected is None or observed is None:
        if expected is not observed:
            yield Mismatch(place, f"{observed}, {expected} expected")
    else:
        problem = array_difference(np.asarray(array(expected)), _array(observed), tolerance)
        if problem:
            yield Mismatch(place, problem)


def _compare_mappings(
    expected: Mapping[str, Any],
    observed: Any,  # noqa: ANN401 - whatever an adapter returned
    tolerance: Tolerance,
    place: str,
) -> Iterator[Mismatch]:
    for key, value in expected.items():
        if not isinstance(observed, Mapping) or key not in observed:
            yield Mismatch(f"{place}/{key}", "the replay does not know this key")
        else:
            yield from compare(value, observed[key], tolerance, place=f"{place}/{key}")


def array_difference(
    expected: np.ndarray, observed: np.ndarray, tolerance: Tolerance
) -> str | None:
    """Return what is different between two arrays, or None."""
    if expected.size == observed.size == 0:
        return None  # an empty list of rows has lost its width
    if expected.shape != observed.shape:
        return f"shape {observed.shape}, {expected.shape} expected"
    if expected.dtype.kind != "f" or observed.dtype.kind not in "fiub":
        return None if np.array_equal(expected, observed) else f"{observed}, {expected} expected"
    finite = np.isfinite(expected)
    if not np.array_equal(expected[~finite], observed[~finite], equal_nan=True):
        return "not finite in other places than expected"
    return _too_far(expected[finite], observed[finite], tolerance) if finite.any() else None


def _too_far(expected: np.ndarray, observed: np.ndarray, tolerance: Tolerance) -> str | None:
    """Return how far the entry that exceeds its tolerance most is off, or None."""
    error = np.abs(observed - expected)
    allowed = np.broadcast_to(tolerance.allowed(expected), error.shape)
    worst = np.argmax(np.where(np.isfinite(error), error - allowed, np.inf))
    if error[worst] <= allowed[worst]:
        return None
    return f"off by {error[worst]:.3g}, {allowed[worst]:.3g} allowed"


def array(tree: Any) -> np.ndarray | None:  # noqa: ANN401 - a JSON leaf or list
    """Return an array, or None for a list that is none: ragged, with nulls or with mappings."""
    try:
        found = np.asarray(tree)
    except ValueError:  # ragged
        return None
    if found.dtype.kind == "O":
        return None
    if found.dtype.kind in "US" and found.size:
        try:
            return found.astype(np.float64)  # "NaN" and "Infinity" stand for numbers
        except ValueError:
            return found
    return found


def _array(value: Any) -> np.ndarray:  # noqa: ANN401 - what an adapter returned
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy()
    if isinstance(value, list | tuple) and any(isinstance(item, Tensor) for item in value):
        value = [_array(item) for item in value]
    found = array(value)
    return np.asarray(str(value)) if found is None else found
