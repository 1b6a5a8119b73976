"""Which method is better, under one protocol and on one data set; nothing is ever mixed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import mean

from harness.report.cells import Gathered, Group, gather, values
from harness.report.outcomes import Outcome
from harness.report.pairs import paired_differences
from harness.report.published_beside import beside
from harness.report.ranks import ALPHA, Place, adjusted, places
from harness.report.statistics import Cell, Interval, seed_means, student_interval
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
        num_missing: Runs never tried: the seeds of this method times the folds of the board.
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
) -> Leaderboard:
    """Rank the methods of a store.

    Args:
        store: To read.
        protocol: Name, or the beginning of a digest; None takes every protocol.
        metric: To rank by; None takes the first of each protocol.
        include_deviations: Show runs that break their protocol, as methods of their own.
        include_smoke: Show rehearsals, as methods of their own.

    Raises:
        HarnessError: There is no run, or no such protocol or metric.
    """
    found = gather(
        store,
        protocol=protocol,
        metric=metric,
        include_deviations=include_deviations,
        include_smoke=include_smoke,
    )
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
    folds = {cell.fold for members in gathered.outcomes.values() for cell in members}
    cells = {method: values(members) for method, members in gathered.outcomes.items()}
    means = {method: mean(seed_means(of)) for method, of in cells.items() if of}
    sign = -1 if gathered.higher_is_better else 1
    ordered = sorted(means, key=lambda method: sign * means[method])
    better = _better({method: cells[method] for method in ordered}, sign=sign)
    place = places(ordered, better)
    last = [method for method in gathered.outcomes if method not in means]
    return tuple(
        _row(method, gathered, num_folds=len(folds), place=place.get(method))
        for method in (*ordered, *last)
    )


def _better(cells: Mapping[str, Sequence[Cell]], *, sign: int) -> list[tuple[str, str]]:
    """Return the pairs that are told apart at 5% after Holm's correction, the better one first."""
    differences = paired_differences(cells)
    return [
        (first, second) if sign * differences[first, second].mean < 0 else (second, first)
        for (first, second), p_value in adjusted(differences).items()
        if p_value < ALPHA
    ]


def _row(method: str, gathered: Gathered, *, num_folds: int, place: Place | None) -> Row:
    members = gathered.outcomes[method]
    cells = values(members)
    seeds = seed_means(cells)
    folds_of_seed = Counter(cell.seed for cell in cells)
    return Row(
        place=place,
        method=method,
        mean=mean(seeds) if seeds else None,
        interval=student_interval(seeds),
        num_seeds=len(seeds),
        num_folds=min(folds_of_seed.values(), default=0),
        untrained=_mean_of_seeds(members, [o.untrained for o in members]),
        oracle=_mean_of_seeds(members, [o.oracle for o in members]),
        num_ok=len(cells),
        num_failed=len(members) - len(cells),
        num_missing=len({o.seed for o in members}) * num_folds - len(members),
        cost=_cost([o for o in members if o.value is not None]),
        published=beside(gathered.group, members[0]),
    )


def _cost(members: Sequence[Outcome]) -> Cost:
    spent = [
        o.train_seconds + (o.eval_seconds or 0) for o in members if o.train_seconds is not None
    ]
    return Cost(
        device="+".join(sorted({o.device for o in members})),
        seconds=mean(spent) if spent else None,
        wall_seconds=mean([o.wall_seconds for o in members]) if members else None,
        images_per_second=_mean_known(o.images_per_second for o in members),
        peak_memory_mib=max(
            (o.peak_memory_mib for o in members if o.peak_memory_mib is not None), default=None
        ),
        trials=max((o.num_trials for o in members if o.num_trials is not None), default=None),
        search_seconds=max(
            (o.search_seconds for o in members if o.search_seconds is not None), default=None
        ),
    )


def _mean_known(found: Iterable[float | None]) -> float | None:
    known = [value for value in found if value is not None]
    return mean(known) if known else None


def _mean_of_seeds(members: Sequence[Outcome], values: Sequence[float | None]) -> float | None:
    cells = [
        Cell(o.seed, o.fold, value)
        for o, value in zip(members, values, strict=True)
        if value is not None
    ]
    return mean(seed_means(cells)) if cells else None
