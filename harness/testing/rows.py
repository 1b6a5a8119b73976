"""Rows for tests of whatever reads a store: valid, small, and the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from harness.store.schema import ComponentRow, EnsembleRow, EpochRow, MetricRow, RunRow
from harness.store.writer import Store, write_attempt

BEGINNING = datetime(2024, 1, 1, tzinfo=UTC)
DIGEST = "a1b2c3d4" * 8
DATA = "d4c3b2a1" * 8


def toy_run(number: int, **changes: Any) -> RunRow:  # noqa: ANN401 - RunRow checks them
    """Return an honest, successful run that took a minute.

    Args:
        number: Makes the run and its attempt unique; it ended `number` minutes after `BEGINNING`.
        changes: Fields with other values.
    """
    ended_at = BEGINNING + timedelta(minutes=number)
    row: dict[str, Any] = {
        "attempt_id": f"{number:032x}",
        "run_key": f"key{number}",
        "pair_key": f"pair{number}",
        "protocol": "toy",
        "protocol_version": 1,
        "protocol_digest": DIGEST,
        "data_digest": DATA,
        "dataset": "toys",
        "method": "alpha",
        "loss": "alpha",
        "sampler": "random",
        "backbone": "linear",
        "components": (ComponentRow("loss", "alpha", "toy-losses", "1.0"),),
        "params": {"loss": {"tau": 32.0}},
        "settings": {},
        "headline_metric": "map_at_r",
        "fold": 0,
        "seed": 0,
        "status": "ok",
        "leaderboard_eligible": True,
        "started_at": ended_at - timedelta(minutes=1),
        "ended_at": ended_at,
        "wall_seconds": 60.0,
        "selected_epoch": 1,
        "device": "cpu",
        "versions": {"torch": "2.4.0"},
    }
    return RunRow(**{**row, **changes})


def score(value: float | None, **changes: Any) -> MetricRow:  # noqa: ANN401 - as above
    """Return a test value of `map_at_r` at the selected epoch 1."""
    row = MetricRow("test", 1, "map_at_r", 1, value, selected=True)
    return replace(row, **changes)


def toy_ensemble(
    members: Sequence[RunRow],
    value: float | None,
    **changes: Any,  # noqa: ANN401 - as above
) -> EnsembleRow:
    """Return the `map_at_r` of some runs, as one, computed when the last of them ended."""
    first = members[0]
    row: dict[str, Any] = {
        "ensemble_id": "-".join(run.run_key for run in members),
        "kind": "concatenated",
        "members": tuple(run.attempt_id for run in members),
        "run_keys": tuple(run.run_key for run in members),
        "num_members": len(members),
        "embedding_dim": 8 * len(members),
        "distance": "euclidean",
        "metric": "map_at_r",
        "metric_version": 1,
        "higher_is_better": True,
        "value": value,
        "computed_at": max(run.ended_at for run in members),
    }
    for name in ("protocol", "protocol_digest", "data_digest", "dataset", "method", "seed"):
        row[name] = getattr(first, name)
    return EnsembleRow(**{**row, **changes})


def toy_epoch(epoch: int, loss: float) -> EpochRow:
    """Return an epoch of ten batches of eight."""
    return EpochRow(
        epoch=epoch,
        steps=10,
        images=80,
        seconds=2.0,
        losses={"loss": loss},
        learning_rates={"backbone": 0.01},
        shares={"data": 0.25, "forward": 0.75},
    )


def add_scores(
    store: Store, method: str, values: Sequence[Sequence[float]], *, first: int
) -> None:
    """Write one run per seed and fold.

    Args:
        store: To add to.
        method: Whose runs they are.
        values: `values[seed][fold]`.
        first: Number of the first run; the others count up.
    """
    number = first
    for seed, folds in enumerate(values):
        for fold, value in enumerate(folds):
            run = toy_run(number, method=method, seed=seed, fold=fold)
            write_attempt(store, run, metrics=[score(value)])
            number += 1
