"""How sure a mean over seeds and queries is, when both are samples of more.

Shapes: S seeds, Q queries, U units (single queries, or classes of queries).

Two runs of one method differ, and two queries differ: a score is a mean over both. An interval
over queries alone takes the runs at hand for all there are, and is too narrow as soon as seeds
matter. Queries of one class resemble each other, so classes are the safer unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.report.statistics import CONFIDENCE, Interval

Scores = NDArray[np.float64]
_FEWEST = 2
_CHUNK = 1 << 22  # random numbers drawn at once


class Sums(NamedTuple):
    """Scores added up within units.

    Attributes:
        totals: (S, U), sum over the queries of a unit.
        sizes: (U,), queries of each unit.
    """

    totals: Scores
    sizes: Scores

    @property
    def mean(self) -> float:
        """Mean over seeds and queries."""
        return float(self.totals.sum() / (len(self.totals) * self.sizes.sum()))


@dataclass(frozen=True, slots=True)
class Precision:
    """What the variance of a mean over seeds and units is made of.

    Attributes:
        mean: Over seeds and queries.
        seeds: Share of the variance that more seeds would reduce: between seeds.
        units: The same of queries or classes.
        rest: What is particular to one unit in one run; both reduce it.
        degrees: Of freedom, by Satterthwaite's approximation.
    """

    mean: float
    seeds: float
    units: float
    rest: float
    degrees: float

    @property
    def standard_error(self) -> float:
        """Root of the variance of the mean."""
        return float(np.sqrt(self.seeds + self.units + self.rest))

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """Return mean plus and minus the t quantile times the standard error."""
        from scipy.special import stdtrit

        half = float(stdtrit(self.degrees, (1 + confidence) / 2)) * self.standard_error
        return Interval(self.mean - half, self.mean + half)


def sums(scores: Scores, classes: NDArray[np.int64] | None = None) -> Sums:
    """Add up scores (S, Q) within classes; without classes each query is a unit.

    >>> sums(np.array([[1.0, 2.0, 4.0]]), np.array([7, 3, 7])).totals.tolist()
    [[2.0, 5.0]]
    """
    if classes is None:
        return Sums(scores, np.ones(scores.shape[1]))
    _, unit_index, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    totals = np.zeros((len(scores), len(sizes)))
    np.add.at(totals.T, unit_index, scores.T)
    return Sums(totals, sizes.astype(np.float64))


def precision(sample: Sums) -> Precision | None:
    """Split the variance of a mean by a two-way analysis with both ways random.

    With units of unequal size the mean is a ratio, and its linear part is analysed (the residual
    of each unit from the mean, times the number of units, over the number of queries). A negative
    component counts as zero.

    Returns:
        None for fewer than two seeds or two units.
    """
    num_seeds, num_units = sample.totals.shape
    if min(num_seeds, num_units) < _FEWEST:
        return None
    mean = sample.mean
    linear = (sample.totals - mean * sample.sizes) * (num_units / sample.sizes.sum())
    by_seed, by_unit = linear.mean(axis=1), linear.mean(axis=0)
    rest = linear - by_seed[:, None] - by_unit
    # Mean squares over S U: what each adds to the variance of the mean.
    num_cells = num_seeds * num_units
    of_seeds = float((by_seed**2).sum() / num_seeds / (num_seeds - 1))
    of_units = float((by_unit**2).sum() / num_units / (num_units - 1))
    of_rest = float((rest**2).sum() / num_cells / ((num_seeds - 1) * (num_units - 1)))
    # Expected: seeds + rest, units + rest, rest.
    variance = max(of_seeds + of_units - of_rest, of_seeds, of_units)
    seeds, units = max(of_seeds - of_rest, 0.0), max(of_units - of_rest, 0.0)
    spread = [(of_seeds, num_seeds - 1), (of_units, num_units - 1)]
    if variance in (of_seeds, of_units):  # the other one is nothing
        spread = [part for part in spread if part[0] == variance][:1]
    else:
        spread += [(of_rest, (num_seeds - 1) * (num_units - 1))]
    denominator = sum(square**2 / degrees for square, degrees in spread)
    degrees = variance**2 / denominator if denominator else float(num_seeds - 1)
    return Precision(mean, seeds, units, variance - seeds - units, degrees)


def crossed_bootstrap(
    sample: Sums,
    *,
    generator: np.random.Generator,
    num_resamples: int = 2000,
    confidence: float = CONFIDENCE,
) -> Interval | None:
    """Return an interval of the mean by drawing seeds and units anew, with replacement.

    Drawing alone is wrong twice: with few seeds it is too narrow, and what is particular to one
    unit in one run is counted three times (Owen, 2007, arXiv:0712.1111). So the draws give the
    shape of the distribution, `precision` its width, and Student's t the price of few seeds.

    Args:
        sample: Of one method, or of the differences of two.
        generator: Source of the draws.
        num_resamples: Draws.
        confidence: Of the interval.

    Returns:
        None for fewer than two seeds or two units.
    """
    from scipy.special import ndtri, stdtrit

    known = precision(sample)
    if known is None:
        return None
    drawn = resampled_means(sample, generator=generator, num_resamples=num_resamples)
    spread = drawn.std()
    if not spread:
        return Interval(known.mean, known.mean)
    upper = (1 + confidence) / 2
    low, high = np.quantile(drawn - known.mean, [1 - upper, upper]) / spread
    wider = float(stdtrit(known.degrees, upper) / ndtri(upper)) * known.standard_error
    # The long tail of the estimate is on the other side of the parameter.
    return Interval(known.mean - float(high) * wider, known.mean - float(low) * wider)


def resampled_means(sample: Sums, *, generator: np.random.Generator, num_resamples: int) -> Scores:
    """Return the mean of each draw of seeds and units; both keep their number."""
    num_seeds, num_units = sample.totals.shape
    chunk = max(1, _CHUNK // num_units)
    means = np.empty(num_resamples)
    for start in range(0, num_resamples, chunk):
        size = min(chunk, num_resamples - start)
        seeds = _counts(generator, size, num_seeds)
        units = _counts(generator, size, num_units)
        totals = ((seeds @ sample.totals) * units).sum(axis=1)
        means[start : start + size] = totals / (num_seeds * (units @ sample.sizes))
    return means


def query_interval(sample: Sums, *, confidence: float = CONFIDENCE) -> Interval | None:
    """Return the interval that takes the seeds at hand for all there are.

    It is what a test over queries alone gives. It says how sure these runs are, not how sure the
    method is: with seeds that differ it misses the method's mean far too often.
    """
    num_units = sample.totals.shape[1]
    if num_units < _FEWEST:
        return None
    from scipy.special import stdtrit

    of_unit = sample.totals.mean(axis=0)
    mean = sample.mean
    linear = (of_unit - mean * sample.sizes) * (num_units / sample.sizes.sum())
    error = np.sqrt((linear**2).sum() / (num_units - 1) / num_units)
    half = float(stdtrit(num_units - 1, (1 + confidence) / 2) * error)
    return Interval(mean - half, mean + half)


def _counts(generator: np.random.Generator, num_draws: int, num_items: int) -> Scores:
    """Return how often each item occurs in each draw of as many items, (draws, items)."""
    drawn = generator.integers(num_items, size=(num_draws, num_items))
    drawn += np.arange(num_draws)[:, None] * num_items
    counts = np.bincount(drawn.ravel(), minlength=num_draws * num_items)
    return counts.reshape(num_draws, num_items).astype(np.float64)
