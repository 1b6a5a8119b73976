"""Runs that may be compared: of one protocol and data, honest, one for each fold and seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from harness.report.outcomes import Outcome, outcomes
from harness.report.statistics import Cell
from harness.store.writer import Store


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

    @property
    def title(self) -> str:
        """A line that says what may be compared here."""
        data = f", data {self.data_digest[:8]}" if self.data_digest else ""
        return (
            f"{self.protocol} v{self.protocol_version} ({self.protocol_digest[:8]}{data}), "
            f"{self.metric} on {self.dataset}"
        )


@dataclass(frozen=True, slots=True)
class Gathered:
    """Everything that was run under one protocol, on one data set.

    Attributes:
        group: Protocol, data and metric.
        metric_version: Of the metric's definition; None without a value.
        higher_is_better: Which way the metric improves.
        outcomes: By method, best effort at each fold and seed, failures included.
        excluded: Runs left out, by reason.
        newest: When the last of its runs ended, UTC.
    """

    group: Group
    metric_version: int | None
    higher_is_better: bool
    outcomes: Mapping[str, tuple[Outcome, ...]]
    excluded: Mapping[str, int]
    newest: datetime


def gather(
    store: Store,
    *,
    protocol: str | None = None,
    metric: str | None = None,
    include_deviations: bool = False,
    include_smoke: bool = False,
) -> tuple[Gathered, ...]:
    """Return what may be compared, one for each protocol digest and data digest, newest first.

    Args:
        store: To read.
        protocol: Name, or the beginning of a digest; None takes every protocol.
        metric: To compare by; None takes the first of each protocol.
        include_deviations: Keep runs that break their protocol, as methods of their own.
        include_smoke: Keep rehearsals, as methods of their own.

    Raises:
        HarnessError: There is no run, or no such protocol or metric.
    """
    groups: dict[Group, list[Outcome]] = {}
    for outcome in outcomes(store, protocol=protocol, metric=metric):
        groups.setdefault(_group(outcome), []).append(outcome)
    _adopt_unread(groups)
    found = [
        _gathered(group, members, deviations=include_deviations, smoke=include_smoke)
        for group, members in groups.items()
    ]
    return tuple(sorted(found, key=lambda each: each.newest, reverse=True))


def values(members: Iterable[Outcome]) -> list[Cell]:
    """Return the values of the runs that ended well."""
    return [Cell(o.seed, o.fold, o.value) for o in members if o.value is not None]


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


def _gathered(
    group: Group, members: Sequence[Outcome], *, deviations: bool, smoke: bool
) -> Gathered:
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
    methods: dict[str, tuple[Outcome, ...]] = {}
    for cell in sorted(cells, key=lambda o: (o.method, o.seed, o.fold)):
        methods[cell.method] = (*methods.get(cell.method, ()), cell)
    return Gathered(
        group,
        metric_version=version,
        higher_is_better=all(cell.higher_is_better is not False for cell in cells),
        outcomes=methods,
        excluded={reason: count for reason, count in sorted(excluded.items()) if count},
        newest=_newest(members),
    )


def _why_excluded(
    outcome: Outcome, metric_version: int | None, *, deviations: bool, smoke: bool
) -> str:
    """Return why a run must not stand on a board; empty if it may."""
    if outcome.trial is not None:
        return "trials of a search"
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
