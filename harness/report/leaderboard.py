"""Which method is better, under one protocol and on one data set; nothing is ever mixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean

import numpy as np

from harness.errors import HarnessError
from harness.report.cells import (
    Gathered,
    Group,
    Planned,
    aligned,
    asked_for,
    gather,
    seed_means,
)
from harness.report.outcomes import Outcomes
from harness.report.pairs import differences
from harness.report.published_beside import beside
from harness.report.ranks import ALPHA, Place, adjusted, places
from harness.report.statistics import Interval, student_interval
from harness.store.published import Published
from harness.store.writer import Store


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run of a method costs; means over the runs that ended well, None if not measured.

    Attributes:
        device: cpu, cuda; several, joined by `+`, where runs were spread.
        seconds: Training and evaluation on that device.
        wall_seconds: From start to end.
        images_per_second: Training throughput.
        peak_memory_mib: Largest of all runs.
        trials: That a search did before; None without one, and then no seconds either.
        search_seconds: These trials, one after the other, from start to end.
    """

    device: str
    seconds: float | None
    wall_seconds: float | None
    images_per_second: float | None
    peak_memory_mib: float | None
    trials: int | None
    search_seconds: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """One method.

    Attributes:
        place: Best and worst rank it may have, and its ties; None without a value.
        method: What is compared.
        mean: Over seeds, each the mean of its folds; None if no run ended well.
        interval: 95% Student-t over seeds; None for one seed, because folds are not repeats.
        num_seeds: Seeds with a value.
        num_folds: Folds of the seed that has fewest.
        untrained: Mean before any training; None if not measured.
        oracle: Mean at the best test epoch, which no honest selection knows; None if not measured.
        num_ok: Runs with a value.
        num_failed: Runs that were tried and never ended well.
        num_missing: Runs never tried, of those that the study asks for; without a study, of the
            seeds of this method times the folds of the board.
        cost: Of a run.
        published: Numbers that papers print for the same thing.
    """

    place: Place | None
    method: str
    mean: float | None
    interval: Interval | None
    num_seeds: int
    num_folds: int
    untrained: float | None
    oracle: float | None
    num_ok: int
    num_failed: int
    num_missing: int
    cost: Cost
    published: tuple[Published, ...]

    @property
    def rank(self) -> int | None:
        """Best rank; methods that are not told apart share it or a later one."""
        return self.place.first if self.place else None

    @property
    def num_planned(self) -> int:
        """Runs that the mean should be over."""
        return self.num_ok + self.num_failed + self.num_missing

    @property
    def complete(self) -> bool:
        """Whether the mean is over all runs, rather than over those that survived."""
        return not (self.num_failed or self.num_missing)

    @property
    def gap(self) -> float | None:
        """What picking the best test epoch adds; None if not measured."""
        if self.oracle is None or self.mean is None:
            return None
        return self.oracle - self.mean


@dataclass(frozen=True, slots=True)
class Board:
    """The methods that may be compared.

    Attributes:
        group: Protocol, data and metric.
        metric_version: Of the metric's definition; None without a value.
        higher_is_better: Which way the rows are sorted.
        rows: Best mean first, methods without a value last.
        excluded: Runs left out, by reason.
        newest: When the last of its runs ended, UTC.
    """

    group: Group
    metric_version: int | None
    higher_is_better: bool
    rows: tuple[Row, ...]
    excluded: Mapping[str, int]
    newest: datetime


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """One board for each protocol digest and data digest, newest first."""

    boards: tuple[Board, ...]


def leaderboard(
    store: Store,
    *,
    protocol: str | None = None,
    metric: str | None = None,
    include_deviations: bool = False,
    include_smoke: bool = False,
    planned: Planned | None = None,
) -> Leaderboard:
    """Rank the methods of a store.

    Args:
        store: To read.
        protocol: Name, or the beginning of a digest; None takes every protocol.
        metric: To rank by; None takes the first of each protocol.
        include_deviations: Show runs that break their protocol, as methods of their own.
        include_smoke: Show rehearsals, as methods of their own.
        planned: What a study asks for: only this is ranked, and what it lacks is missing.

    Raises:
        HarnessError: There is no run, none of the study, or no such protocol or metric.
    """
    found = gather(
        store,
        protocol=protocol,
        metric=metric,
        include_deviations=include_deviations,
        include_smoke=include_smoke,
    )
    if planned is not None:
        found = tuple(asked_for(g, planned) for g in found if g.group.protocol_digest in planned)
        if not found:
            raise HarnessError("no run of this study in the store", hint="harness study run FILE")
    return Leaderboard(tuple(_board(gathered) for gathered in found))


def _board(gathered: Gathered) -> Board:
    return Board(
        gathered.group,
        metric_version=gathered.metric_version,
        higher_is_better=gathered.higher_is_better,
        rows=_rows(gathered),
        excluded=gathered.excluded,
        newest=gathered.newest,
    )


def _rows(gathered: Gathered) -> tuple[Row, ...]:
    """Summarise each method; best mean first, those without a value last."""
    seeds = {method: seed_means(runs) for method, runs in gathered.outcomes.items()}
    means = {method: fmean(of) for method, of in seeds.items() if of}
    sign = -1 if gathered.higher_is_better else 1
    ordered = sorted(means, key=lambda method: sign * means[method])
    place = places(ordered, _better(gathered, ordered, sign=sign))
    last = [method for method in gathered.outcomes if method not in means]
    folds = {fold for runs in gathered.outcomes.values() for fold in set(runs.numbers("fold"))}
    tried = [
        _row(method, gathered, num_folds=len(folds), place=place.get(method))
        for method in (*ordered, *last)
    ]
    planned = gathered.planned or {}
    never = [method for method in planned if method not in gathered.outcomes]
    return (*tried, *(_untried(method, len(planned[method])) for method in never))


def _better(gathered: Gathered, ordered: Sequence[str], *, sign: int) -> list[tuple[str, str]]:
    """Return the pairs that are told apart at 5% after Holm's correction, the better one first."""
    if not ordered:
        return []
    found = differences(ordered, aligned([gathered.outcomes[method] for method in ordered]))
    return [
        (first, second) if sign * found[first, second].mean < 0 else (second, first)
        for (first, second), p_value in adjusted(found).items()
        if p_value < ALPHA
    ]


def _row(method: str, gathered: Gathered, *, num_folds: int, place: Place | None) -> Row:
    runs = gathered.outcomes[method]
    ok = runs.of(~np.isnan(runs.numbers("value")))
    seeds = seed_means(ok)
    _, folds_of_seed = np.unique(ok.numbers("seed"), return_counts=True)
    num_planned = len(set(runs.numbers("seed"))) * num_folds
    if gathered.planned is not None:
        num_planned = len(gathered.planned[method])
    return Row(
        place=place,
        method=method,
        mean=_mean(seeds),
        interval=student_interval(seeds),
        num_seeds=len(seeds),
        num_folds=int(folds_of_seed.min(initial=num_folds)) if seeds else 0,
        untrained=_mean(seed_means(runs, "untrained")),
        oracle=_mean(seed_means(runs, "oracle")),
        num_ok=len(ok),
        num_failed=len(runs) - len(ok),
        num_missing=num_planned - len(runs),
        cost=_cost(ok),
        published=beside(gathered.group, runs),
    )


def _untried(method: str, num_planned: int) -> Row:
    """Return the row of a method that a study asks for and nobody has run."""
    return Row(
        place=None,
        method=method,
        mean=None,
        interval=None,
        num_seeds=0,
        num_folds=0,
        untrained=None,
        oracle=None,
        num_ok=0,
        num_failed=0,
        num_missing=num_planned,
        cost=Cost("", *(None,) * 6),
        published=(),
    )


def _cost(runs: Outcomes) -> Cost:
    def known(column: str) -> list[float]:
        values = runs.numbers(column)
        return values[~np.isnan(values)].tolist()

    spent = runs.numbers("train_seconds") + np.nan_to_num(runs.numbers("eval_seconds"))
    trials = known("num_trials")
    return Cost(
        device="+".join(sorted(set(runs.texts("device")))),
        seconds=_mean(spent[~np.isnan(spent)].tolist()),
        wall_seconds=_mean(known("wall_seconds")),
        images_per_second=_mean(known("images_per_second")),
        peak_memory_mib=max(known("peak_memory_mib"), default=None),
        trials=int(max(trials)) if trials else None,
        search_seconds=max(known("search_seconds"), default=None),
    )


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
