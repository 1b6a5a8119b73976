"""How sure a mean is; pure functions over the values of seeds and folds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import fsum, sqrt  # one rounding: the order of the values does not matter
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


def seed_means(cells: Iterable[Cell]) -> tuple[float, ...]:
    """Average the folds of each seed, in the order of the seeds.

    Folds share training images, so they are not repeats: only seeds are.
    """
    by_seed: dict[int, list[float]] = {}
    for cell in cells:
        by_seed.setdefault(cell.seed, []).append(cell.value)
    return tuple(_mean(by_seed[seed]) for seed in sorted(by_seed))


def student_interval(
    values: Sequence[float], *, confidence: float = CONFIDENCE
) -> Interval | None:
    """Return the Student-t interval of a mean; None for fewer than two values."""
    if len(values) < _FEWEST:
        return None
    from scipy.special import stdtrit

    centre = _mean(values)
    squares = fsum((value - centre) ** 2 for value in values)
    error = sqrt(squares / (len(values) - 1) / len(values))
    half = stdtrit(len(values) - 1, (1 + confidence) / 2) * error
    return Interval(float(centre - half), float(centre + half))


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


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)
