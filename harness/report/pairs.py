"""Differences of methods on the runs they share.

Shapes: M methods, S seeds, F folds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.report.statistics import CONFIDENCE, Cell, Interval

_FEWEST = 2  # pairs with a spread


class Difference(NamedTuple):
    """What separates two methods on the runs they share.

    Attributes:
        mean: Of first minus second, over seeds, each the mean of its folds.
        interval: 95% Student-t; None for one seed.
        p_value: Two-sided, of the paired t test; None for one seed.
        num_pairs: Seeds that both have.
        num_cells: Seeds and folds that both have.
    """

    mean: float
    interval: Interval | None
    p_value: float | None
    num_pairs: int
    num_cells: int


class _Summary(NamedTuple):
    """Of one method against each of M others; all (M,)."""

    mean: NDArray[np.float64]
    error: NDArray[np.float64]
    num_pairs: NDArray[np.int64]
    num_cells: NDArray[np.int64]


def paired_differences(
    cells: Mapping[str, Sequence[Cell]], *, confidence: float = CONFIDENCE
) -> dict[tuple[str, str], Difference]:
    """Compare each method with each later one, run by run.

    Runs of equal seed and fold form a pair: they see the same split, the same first batches and
    the same initial head, so their difference is free of what all three add. Differences of the
    folds of one seed are averaged first, because folds share images and are no repeats.

    Args:
        cells: Values of each method, all of one protocol and data; one per seed and fold.
        confidence: Of the intervals.

    Returns:
        By (first, second) in the order given; pairs of methods without a shared run are not in it.
    """
    return differences(list(cells), _aligned(list(cells.values())), confidence=confidence)


def differences(
    methods: Sequence[str], values: NDArray[np.float64], *, confidence: float = CONFIDENCE
) -> dict[tuple[str, str], Difference]:
    """Compare each method with each later one, as `paired_differences` does.

    Args:
        methods: M names.
        values: (M, S, F), NaN where a method has no run.
        confidence: Of the intervals.
    """
    found: dict[tuple[str, str], Difference] = {}
    for index, method in enumerate(methods[:-1]):
        summary = _summary(values[index] - values[index + 1 :])
        p_values = _p_values(summary)
        halves = _half_widths(summary, confidence)
        for offset, other in enumerate(methods[index + 1 :]):
            if summary.num_pairs[offset]:
                found[method, other] = _difference(
                    summary, offset, float(halves[offset]), float(p_values[offset])
                )
    return found


def _aligned(cells: Sequence[Sequence[Cell]]) -> NDArray[np.float64]:
    """Return values as (M, S, F), NaN where a method has no run."""
    seeds = sorted({cell.seed for members in cells for cell in members})
    folds = sorted({cell.fold for members in cells for cell in members})
    values = np.full((len(cells), len(seeds), len(folds)), np.nan)
    seed_index = {seed: index for index, seed in enumerate(seeds)}
    fold_index = {fold: index for index, fold in enumerate(folds)}
    for index, members in enumerate(cells):
        for cell in members:
            values[index, seed_index[cell.seed], fold_index[cell.fold]] = cell.value
    return values


def _summary(differences: NDArray[np.float64]) -> _Summary:
    """Average (M, S, F) over folds and seeds, leaving out NaN."""
    there = ~np.isnan(differences)
    num_folds = there.sum(axis=2)
    used = num_folds > 0
    of_seed = np.where(there, differences, 0.0).sum(axis=2) / np.maximum(num_folds, 1)
    num_pairs = used.sum(axis=1)
    mean = of_seed.sum(axis=1) / np.maximum(num_pairs, 1)
    squares = (np.where(used, of_seed - mean[:, None], 0.0) ** 2).sum(axis=1)
    error = np.sqrt(squares / np.maximum(num_pairs - 1, 1) / np.maximum(num_pairs, 1))
    return _Summary(mean, error, num_pairs, there.sum(axis=(1, 2)))


def _p_values(summary: _Summary) -> NDArray[np.float64]:
    """Return two-sided p; where all pairs differ by the same, 0, unless the same is nothing."""
    from scipy.special import stdtr

    certain = np.where(summary.mean != 0, np.inf, 0.0)
    size = np.abs(summary.mean)
    ratio = np.divide(size, summary.error, out=certain, where=summary.error > 0)
    return 2 * stdtr(np.maximum(summary.num_pairs - 1, 1), -ratio)


def _half_widths(summary: _Summary, confidence: float) -> NDArray[np.float64]:
    from scipy.special import stdtrit

    degrees = np.maximum(summary.num_pairs - 1, 1)
    return stdtrit(degrees, (1 + confidence) / 2) * summary.error


def _difference(summary: _Summary, index: int, half: float, p_value: float) -> Difference:
    mean, num_pairs = float(summary.mean[index]), int(summary.num_pairs[index])
    known = num_pairs >= _FEWEST
    return Difference(
        mean,
        Interval(mean - half, mean + half) if known else None,
        p_value if known else None,
        num_pairs,
        int(summary.num_cells[index]),
    )
