"""What became of each run, with its value of one metric: the raw material of a leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from harness.errors import HarnessError, did_you_mean
from harness.store.database import query
from harness.store.writer import Store


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: its first success, or its last failure.

    Attributes:
        metric: Name; `metric_version`, `higher_is_better` and the values are of this one.
        value: Of the selected epoch on the test part; None where there is none.
        untrained: Before any training.
        oracle: At the best test epoch, if more than one was tested.
        trial: Number of a trial of a search; None for every other run.
        num_trials: Trials that a tuned method's values were picked from.
        search_seconds: That these trials took.
        ended_at: UTC.
    """

    attempt_id: str
    run_key: str
    protocol: str
    protocol_version: int
    protocol_digest: str
    data_digest: str | None
    dataset: str
    method: str
    loss: str
    miner: str | None
    backbone: str
    fold: int
    seed: int
    status: str
    smoke: bool
    deviates: bool
    leaderboard_eligible: bool
    trial: int | None
    num_trials: int | None
    search_seconds: float | None
    device: str
    wall_seconds: float
    train_seconds: float | None
    eval_seconds: float | None
    images_per_second: float | None
    peak_memory_mib: float | None
    ended_at: datetime
    metric: str
    metric_version: int | None
    higher_is_better: bool | None
    value: float | None
    untrained: float | None
    oracle: float | None


_OUTCOMES = """
    WITH scores AS (
        SELECT attempt_id, name, any_value(version) AS metric_version,
            any_value(higher_is_better) AS higher_is_better,
            max(value) FILTER (selected) AS value,
            max(value) FILTER (epoch = 0) AS untrained,
            count(*) FILTER (epoch > 0) AS num_tested,
            max(value) FILTER (epoch > 0) AS largest,
            min(value) FILTER (epoch > 0) AS smallest
        FROM all_metrics WHERE part = 'test' GROUP BY attempt_id, name
    ), costs AS (
        SELECT search, sum(wall_seconds ORDER BY attempt_id) AS seconds
        FROM attempts WHERE trial IS NOT NULL GROUP BY search
    ), outcomes AS (
        SELECT *, coalesce({metric}, headline_metric) AS metric FROM attempts
        QUALIFY row_number() OVER (
            PARTITION BY run_key
            ORDER BY status <> 'ok', if(status = 'ok', ended_at, NULL), ended_at DESC, attempt_id
        ) = 1
    )
    SELECT outcomes.attempt_id, run_key, protocol, protocol_version, protocol_digest, data_digest,
        dataset, method, loss, miner, backbone, fold, seed, status, smoke, len(deviations) > 0,
        leaderboard_eligible, trial, num_trials,
        if(trial IS NULL, costs.seconds, NULL), device, wall_seconds, train_seconds, eval_seconds,
        images_per_second, peak_memory_mib, ended_at, metric, metric_version, higher_is_better,
        value, untrained,
        if(num_tested > 1, if(higher_is_better, largest, smallest), NULL)
    FROM outcomes LEFT JOIN scores
        ON outcomes.attempt_id = scores.attempt_id AND outcomes.metric = scores.name
    LEFT JOIN costs ON outcomes.search = costs.search
    ORDER BY ended_at, run_key
"""


def outcomes(
    store: Store, *, protocol: str | None = None, metric: str | None = None
) -> tuple[Outcome, ...]:
    """Return what became of each run, in the order in which they ended.

    Args:
        store: To read.
        protocol: Name, or the beginning of a digest; None takes every protocol.
        metric: Whose values to return; None takes the first of each protocol.

    Raises:
        HarnessError: There is no run, or no such protocol or metric.
    """
    rows: tuple[tuple[Any, ...], ...] = query(store, _OUTCOMES.format(metric=literal(metric))).rows
    found = [Outcome(*row) for row in rows]
    if not found:
        raise HarnessError(f"no runs in {store.root}", hint="harness run PROTOCOL --plugin NAME")
    chosen = tuple(
        outcome
        for outcome in found
        if protocol is None
        or outcome.protocol == protocol
        or outcome.protocol_digest.startswith(protocol)
    )
    if protocol is not None and not chosen:
        check_protocol(protocol, sorted({outcome.protocol for outcome in found}))
    if metric is not None and all(outcome.metric_version is None for outcome in chosen):
        known = query(store, "SELECT DISTINCT name FROM all_metrics WHERE part = 'test'").rows
        names = sorted(str(name) for (name,) in known)
        hint = did_you_mean(metric, names) or f"measured were {', '.join(names) or 'none'}"
        raise HarnessError(f"no run has metric {metric!r}", hint=hint)
    return chosen


def check_protocol(name: str, known: Sequence[str]) -> None:
    """Raise a HarnessError that suggests what was meant, unless there are runs of a protocol."""
    if name not in known:
        hint = did_you_mean(name, known) or f"there are runs of {', '.join(known) or 'none'}"
        raise HarnessError(f"no runs of protocol {name!r}", hint=hint)


def literal(text: str | None) -> str:
    """Return an SQL string, or NULL."""
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"
