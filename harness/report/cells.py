"""Runs that may be compared: of one protocol and data, honest, one for each fold and seed.

Shapes: M methods, S seeds, F folds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from harness.report.outcomes import Kind, Outcomes, check_protocol, outcomes, unknown_metric
from harness.store.writer import Store

Planned = Mapping[str, Mapping[str, frozenset[tuple[int, int]]]]
"""Seed and fold of each run that a study asks for, by protocol digest and method."""


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
        outcomes: By method, best effort at each seed and fold, in that order, failures included.
        planned: Seed and fold of each run that a study asks for, by method; None without one.
        excluded: Runs left out, by reason.
        newest: When the last of its runs ended, UTC.
    """

    group: Group
    metric_version: int | None
    higher_is_better: bool
    outcomes: Mapping[str, Outcomes]
    planned: Mapping[str, frozenset[tuple[int, int]]] | None
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
    groups: dict[Group, dict[Kind, Outcomes]] = {}
    found = outcomes(store, metric=metric, deviations=include_deviations, smoke=include_smoke)
    for kind, runs in found.items():
        if protocol is None or _is_called(kind, protocol):
            groups.setdefault(_group(kind), {})[kind] = runs
    if protocol is not None and not groups:
        check_protocol(protocol, sorted({kind.protocol for kind in found}))
    if metric is not None and not any(
        k.metric_version for kinds in groups.values() for k in kinds
    ):
        raise unknown_metric(store, metric)
    _adopt_unread(groups)
    boards = [_gathered(group, kinds) for group, kinds in groups.items()]
    return tuple(sorted(boards, key=lambda each: each.newest, reverse=True))


def seed_means(runs: Outcomes, column: str = "value") -> list[float]:
    """Average the folds of each seed that has a value, in the order of the seeds.

    Folds share training images, so they are not repeats: only seeds are.
    """
    values = runs.numbers(column)
    there = ~np.isnan(values)
    _, seed_index, num_folds = np.unique(
        runs.numbers("seed")[there], return_inverse=True, return_counts=True
    )
    return (np.bincount(seed_index, weights=values[there]) / num_folds).tolist()


def aligned(methods: Sequence[Outcomes]) -> NDArray[np.float64]:
    """Return the values of methods by seed and fold as (M, S, F), NaN where there is none."""
    seeds = np.unique(np.concatenate([runs.numbers("seed") for runs in methods]))
    folds = np.unique(np.concatenate([runs.numbers("fold") for runs in methods]))
    values = np.full((len(methods), len(seeds), len(folds)), np.nan)
    for table, runs in zip(values, methods, strict=True):
        seed_index = np.searchsorted(seeds, runs.numbers("seed"))
        fold_index = np.searchsorted(folds, runs.numbers("fold"))
        table[seed_index, fold_index] = runs.numbers("value")
    return values


def _is_called(kind: Kind, name: str) -> bool:
    return kind.protocol == name or kind.protocol_digest.startswith(name)


def _group(kind: Kind) -> Group:
    return Group(*(getattr(kind, name) for name in Group._fields))


def _adopt_unread(groups: dict[Group, dict[Kind, Outcomes]]) -> None:
    """Move runs that failed before their data was read to the newest board they fit."""
    for group in [group for group in groups if group.data_digest is None]:
        fitting = [g for g in groups if g.data_digest and g._replace(data_digest=None) == group]
        if fitting:
            newest = max(fitting, key=lambda fit: _newest(groups[fit]))
            groups[newest] |= groups.pop(group)


def _newest(kinds: Mapping[Kind, Outcomes]) -> datetime:
    newest = pc.max  # pyright: ignore[reportAttributeAccessIssue] - made when imported
    return max(newest(runs.table["ended_at"]).as_py() for runs in kinds.values())


def _gathered(group: Group, kinds: Mapping[Kind, Outcomes]) -> Gathered:
    version = max((k.metric_version for k in kinds if k.metric_version is not None), default=None)
    excluded: Counter[str] = Counter()
    kept: dict[str, list[pa.Table]] = {}
    for kind, runs in kinds.items():
        reason = kind.reason
        if not reason and kind.metric_version not in (None, version):
            reason = "older definition of the metric"
        if reason:
            excluded[reason] += len(runs)
        else:
            kept.setdefault(kind.method, []).append(runs.table)
    everything = {method: Outcomes(pa.concat_tables(kept[method])) for method in sorted(kept)}
    methods = {method: _newest_of_each_cell(runs) for method, runs in everything.items()}
    excluded["replaced by a newer run of the same method, fold and seed"] = sum(
        len(runs) - len(methods[method]) for method, runs in everything.items()
    )
    stand = {kind for kind in kinds if not kind.reason and kind.metric_version == version}
    return Gathered(
        group,
        metric_version=version,
        higher_is_better=all(kind.higher_is_better is not False for kind in stand),
        outcomes=methods,
        planned=None,
        excluded={reason: count for reason, count in sorted(excluded.items()) if count},
        newest=_newest(kinds),
    )


def asked_for(gathered: Gathered, planned: Planned) -> Gathered:
    """Return what a study asks for, and count what it does not."""
    asked = planned.get(gathered.group.protocol_digest, {})
    kept: dict[str, Outcomes] = {}
    for method, runs in gathered.outcomes.items():
        cells = zip(runs.numbers("seed"), runs.numbers("fold"), strict=True)
        repeats = asked.get(method, frozenset())
        kept[method] = runs.of(np.array([cell in repeats for cell in cells], dtype=bool))
    left_out = sum(map(len, gathered.outcomes.values())) - sum(map(len, kept.values()))
    return replace(
        gathered,
        outcomes={method: runs for method, runs in kept.items() if len(runs)},
        planned=asked,
        excluded={**gathered.excluded, **({"not of the study": left_out} if left_out else {})},
    )


def _newest_of_each_cell(runs: Outcomes) -> Outcomes:
    """Return one run per seed and fold: success before failure, newer before older.

    Two can differ in the version of a plugin, for one; averaging them would mix methods.
    """
    seeds, folds, ended = (runs.numbers(name) for name in ("seed", "fold", "ended"))
    order = np.lexsort((np.array(runs.texts("run_key")), ended, runs.numbers("ok"), folds, seeds))
    seeds, folds = seeds[order], folds[order]
    last = np.append((seeds[1:] != seeds[:-1]) | (folds[1:] != folds[:-1]), [True])
    return runs.of(order[last])
