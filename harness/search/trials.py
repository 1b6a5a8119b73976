"""What a trial came to, and which one is best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One set of values.

    Attributes:
        number: From 0, which has the values that the method starts with.
        values: By path.
        objective: Mean validation value; None while a run is missing, or when one failed.
        ended: The repeats, fold and seed, that have ended well or failed.
    """

    number: int
    values: Mapping[str, Any]
    objective: float | None
    ended: frozenset[tuple[int, int]]


def best(trials: Sequence[Trial], *, higher_is_better: bool) -> Trial | None:
    """Return the trial with the best objective, of equal ones the first; None if all failed."""
    sign = 1 if higher_is_better else -1
    good = {trial: sign * trial.objective for trial in trials if trial.objective is not None}
    return max(good, key=lambda trial: (good[trial], -trial.number), default=None)
