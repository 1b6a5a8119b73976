"""How sure a mean is; pure functions over the values of seeds and folds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, stdev  # exact: the order of the values does not matter
from typing import NamedTuple

CONFIDENCE = 0.95
_FEWEST = 2  # values with a spread


class Interval(NamedTuple):
    """A confidence interval, both ends included."""

    low: float
    high: float


class Cell(NamedTuple):
    """One value of one run.

    Attributes:
        seed: The repeat; repeats are what an interval is about.
        fold: Cross-validation fold inside the repeat.
        value: Finite.
    """

    seed: int
    fold: int
    value: float


class Difference(NamedTuple):
    """What separates two methods on the runs they share.

    Attributes:
        mean: Of first minus second, over pairs.
        interval: 95% Student-t; None for one pair.
        p_value: Two-sided, of the paired t test; None for one pair.
        num_pairs: Keys that both have.
    """

    mean: float
    interval: Interval | None
    p_value: float | None
    num_pairs: int


def seed_means(cells: Iterable[Cell]) -> tuple[float, ...]:
    """Average the folds of each seed, in the order of the seeds.

    Folds share training images, so they are not repeats: only seeds are.
    """
    by_seed: dict[int, list[float]] = {}
    for cell in cells:
        by_seed.setdefault(cell.seed, []).append(cell.value)
    return tuple(mean(by_seed[seed]) for seed in sorted(by_seed))


def student_interval(
    values: Sequence[float], *, confidence: float = CONFIDENCE
) -> Interval | None:
    """Return the Student-t interval of a mean; None for fewer than two values."""
    if len(values) < _FEWEST:
        return None
    from scipy.special import stdtrit

    half = stdtrit(len(values) - 1, (1 + confidence) / 2) * _standard_error(values)
    centre = mean(values)
    return Interval(float(centre - half), float(centre + half))


def paired_difference(
    first: Mapping[str, float], second: Mapping[str, float]
) -> Difference | None:
    """Compare two methods on the pair keys they share; None when there is none.

    Args:
        first: Value of each pair key.
        second: The same of the other method.
    """
    shared = sorted(first.keys() & second.keys())
    if not shared:
        return None
    differences = [first[key] - second[key] for key in shared]
    return Difference(
        mean(differences),
        student_interval(differences),
        _p_value(differences),
        len(shared),
    )


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p values adjusted for their number, in the order given (Holm, 1979).

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return tuple(adjusted)


def _p_value(differences: Sequence[float]) -> float | None:
    if len(differences) < _FEWEST:
        return None
    from scipy.special import stdtr

    error = _standard_error(differences)
    centre = abs(mean(differences))
    if error == 0:  # every pair differs by the same: certain, unless the same is nothing
        return 0.0 if centre else 1.0
    return float(2 * stdtr(len(differences) - 1, -centre / error))


def _standard_error(values: Sequence[float]) -> float:
    return stdev(values) / math.sqrt(len(values))
