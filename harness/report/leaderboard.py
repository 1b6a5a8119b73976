"""Which method is better, under one protocol and on one data set; nothing is ever mixed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import mean
from typing import NamedTuple

from harness.report.outcomes import Outcome, outcomes
from harness.report.statistics import Cell, Interval, seed_means, student_interval
from harness.store.writer import Store


@dataclass(frozen=True, slots=True)
class Row:
    """One method.

    Attributes:
        rank: From 1; None without a value.
        method: What is compared.
        mean: Over seeds, each the mean of its folds; None if no run ended well.
        interval: 95% Student-t over seeds; None for one seed, because folds are not repeats.
        num_seeds: Seeds with a value.
        num_folds: Folds of the seed that has fewest.
        untrained: Mean before any training; None if not measured.
        oracle: Mean at the best test epoch, which no honest selection knows; None if not measured.
        num_failed: Runs that were tried and never ended well.
        num_missing: Runs never tried: the seeds of this method times the folds of the board.
        seconds: Mean wall time of a run.
    """

    rank: int | None
    method: str
    mean: float | None
    interval: Interval | None
    num_seeds: int
    num_folds: int
    untrained: float | None
    oracle: float | None
    num_failed: int
    num_missing: int
    seconds: float | None

    @property
    def complete(self) -> bool:
        """Whether the mean is over all runs, rather than over those that survived."""
        return not (self.num_failed or self.num_missing)


class Group(NamedTuple):
    """What two runs must share to be compared.

    Attributes:
        data_digest: None if no run got as far as reading its data.
    """

    protocol: str
    protocol_version: int
    protocol_digest: str
    data_digest: str | None
    dataset: str
    metric: str


@dataclass(frozen=True, slots=True)
class Board:
    """The methods that may be compared.

    Attributes:
        group: Protocol, data and metric.
        metric_version: Of the metric's definition; None without a value.
        higher_is_better: Which way the rows are sorted.
        rows: Best first, methods without a value last.
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
    groups: dict[Group, list[Outcome]] = {}
    for outcome in outcomes(store, protocol=protocol, metric=metric):
        groups.setdefault(_group(outcome), []).append(outcome)
    _adopt_unread(groups)
    boards = [
        _board(group, members, deviations=include_deviations, smoke=include_smoke)
        for group, members in groups.items()
    ]
    return Leaderboard(tuple(sorted(boards, key=lambda board: board.newest, reverse=True)))


def _group(outcome: Outcome) -> Group:
    return Group(
        outcome.protocol,
        outcome.protocol_version,
        outcome.protocol_digest,
        outcome.data_digest,
        outcome.dataset,
        outcome.metric,
    )


def _adopt_unread(groups: dict[Group, list[Outcome]]) -> None:
    """Move runs that failed before their data was read to the newest board they fit."""
    for group in [group for group in groups if group.data_digest is None]:
        fitting = [g for g in groups if g.data_digest and g._replace(data_digest=None) == group]
        if fitting:
            newest = max(fitting, key=lambda fit: _newest(groups[fit]))
            groups[newest] += groups.pop(group)


def _newest(members: Iterable[Outcome]) -> datetime:
    return max(outcome.ended_at for outcome in members)


def _board(group: Group, members: Sequence[Outcome], *, deviations: bool, smoke: bool) -> Board:
    versions = [o.metric_version for o in members if o.metric_version is not None]
    version = max(versions, default=None)
    excluded: Counter[str] = Counter()
    kept: list[Outcome] = []
    for outcome in members:
        reason = _why_excluded(outcome, version, deviations=deviations, smoke=smoke)
        if reason:
            excluded[reason] += 1
        else:
            kept.append(_labelled(outcome))
    cells = _newest_of_each_cell(kept)
    excluded["replaced by a newer run of the same method, fold and seed"] += len(kept) - len(cells)
    higher = all(cell.higher_is_better is not False for cell in cells)
    return Board(
        group,
        metric_version=version,
        higher_is_better=higher,
        rows=_rank(cells, higher_is_better=higher),
        excluded={reason: count for reason, count in sorted(excluded.items()) if count},
        newest=_newest(members),
    )


def _why_excluded(
    outcome: Outcome, metric_version: int | None, *, deviations: bool, smoke: bool
) -> str:
    """Return why a run must not stand on a board; empty if it may."""
    if outcome.smoke:
        return "" if smoke else "rehearsals (--smoke)"
    if outcome.deviates:
        return "" if deviations else "deviations from the protocol"
    if outcome.metric_version not in (None, metric_version):
        return "older definition of the metric"
    if outcome.status == "ok" and not outcome.leaderboard_eligible:
        return "not eligible"
    return ""


def _labelled(outcome: Outcome) -> Outcome:
    """Return the run under a name that keeps it apart from honest ones of its method."""
    marks = ["smoke"] * outcome.smoke + ["deviates"] * outcome.deviates
    return replace(outcome, method=" ".join([outcome.method, *(f"[{mark}]" for mark in marks)]))


def _newest_of_each_cell(members: Iterable[Outcome]) -> list[Outcome]:
    """Return one run per method, fold and seed: success before failure, newer before older.

    Two can differ in the version of a plugin, for one; averaging them would mix methods.
    """
    in_order = sorted(members, key=lambda o: (o.status == "ok", o.ended_at, o.run_key))
    return list({(o.method, o.fold, o.seed): o for o in in_order}.values())


def _rank(cells: Iterable[Outcome], *, higher_is_better: bool) -> tuple[Row, ...]:
    methods: dict[str, list[Outcome]] = {}
    for cell in sorted(cells, key=lambda o: (o.method, o.seed, o.fold)):
        methods.setdefault(cell.method, []).append(cell)
    folds = {cell.fold for members in methods.values() for cell in members}
    rows = [_row(method, members, len(folds)) for method, members in methods.items()]
    sign = -1 if higher_is_better else 1
    scored = sorted(
        ((sign * row.mean, row) for row in rows if row.mean is not None), key=lambda pair: pair[0]
    )
    ranked = [replace(row, rank=rank) for rank, (_, row) in enumerate(scored, start=1)]
    return (*ranked, *(row for row in rows if row.mean is None))


def _row(method: str, members: Sequence[Outcome], num_folds: int) -> Row:
    """Summarise the runs of one method; its rank is known later."""
    cells = [Cell(o.seed, o.fold, o.value) for o in members if o.value is not None]
    seeds = seed_means(cells)
    folds_of_seed = Counter(cell.seed for cell in cells)
    return Row(
        rank=None,
        method=method,
        mean=mean(seeds) if seeds else None,
        interval=student_interval(seeds),
        num_seeds=len(seeds),
        num_folds=min(folds_of_seed.values(), default=0),
        untrained=_mean_of_seeds(members, [o.untrained for o in members]),
        oracle=_mean_of_seeds(members, [o.oracle for o in members]),
        num_failed=len(members) - len(cells),
        num_missing=len({o.seed for o in members}) * num_folds - len(members),
        seconds=mean([o.wall_seconds for o in members if o.value is not None]) if cells else None,
    )


def _mean_of_seeds(members: Sequence[Outcome], values: Sequence[float | None]) -> float | None:
    cells = [
        Cell(o.seed, o.fold, value)
        for o, value in zip(members, values, strict=True)
        if value is not None
    ]
    return mean(seed_means(cells)) if cells else None
