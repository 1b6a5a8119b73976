"""What the store knows of each cell: done, failed and why, and how long the rest will take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from harness.study.cells import Cell

if TYPE_CHECKING:
    from pathlib import Path

    from harness.specs import DatasetSpec
    from harness.store.writer import Store

Known = Literal["finished", "failed", "interrupted", "missing"]


@dataclass(frozen=True, slots=True)
class State:
    """What is known of one cell.

    Attributes:
        known: `finished` when some attempt ended well, else how the last attempt ended;
            `missing` when there was none.
        reason: Of a failure, on one line.
        seconds: A run of this sort took before; None when none has.
    """

    known: Known
    reason: str
    seconds: float | None


def states_of(cells: Sequence[Cell], store: Store | None) -> tuple[State, ...]:
    """Return what the store knows of each cell; a store that does not exist knows nothing."""
    if store is None or not cells:
        return tuple(State("missing", "", None) for _ in cells)
    last = _last_attempts(store)
    seconds = _seconds(store)
    return tuple(
        State(*last.get(cell.run.key, ("missing", "")), seconds=_expected(cell, seconds))
        for cell in cells
    )


def compare_data(finished: Sequence[Cell], store: Store, data_root: Path) -> None:
    """Warn where finished runs are of other data than there is now; smoke runs are of parts."""
    from harness.data.changes import FinishedRun, warn_of_changes
    from harness.store.writer import finished_data

    runs = [cell.run for cell in finished if not cell.run.smoke]
    digests = finished_data(store) if runs else {}
    warn_of_changes(
        [
            FinishedRun(
                cast("DatasetSpec", run.dataset.card),
                run.dataset.params,
                run.protocol.split,
                digests[run.key],
            )
            for run in runs
            if run.key in digests
        ],
        data_root,
    )


def find(root: Path) -> Store | None:
    """Open a store for reading; None where there is none yet."""
    from harness.store.writer import MARKER, find_store

    return find_store(root) if (root / MARKER).is_file() else None


def _last_attempts(store: Store) -> dict[str, tuple[Known, str]]:
    from harness.store.database import query

    sql = """
        SELECT run_key, status, coalesce(error_type, ''), coalesce(error_message, '')
        FROM attempts
        QUALIFY row_number() OVER (
            PARTITION BY run_key ORDER BY status <> 'ok', ended_at DESC, attempt_id DESC
        ) = 1
    """
    found: dict[str, tuple[Known, str]] = {}
    for row in query(store, sql).rows:
        key, status, error, message = cast("tuple[str, str, str, str]", row)
        known = cast("Known", "finished" if status == "ok" else status)
        found[key] = (known, f"{error}: {message}" if error else "")
    return found


Sort = tuple[str, str, bool]


def _seconds(store: Store) -> Mapping[Sort, float]:
    """Return the mean time of a run by protocol, method ("" for all) and whether a rehearsal."""
    from harness.store.database import query

    sql = """
        SELECT protocol_digest, coalesce(method, ''), smoke, avg(wall_seconds ORDER BY attempt_id)
        FROM runs GROUP BY GROUPING SETS (
            (protocol_digest, smoke, method), (protocol_digest, smoke)
        )
    """
    rows = cast("Iterable[tuple[str, str, bool, float]]", query(store, sql).rows)
    return {(digest, method, smoke): seconds for digest, method, smoke, seconds in rows}


def _expected(cell: Cell, seconds: Mapping[Sort, float]) -> float | None:
    run = cell.run
    own = seconds.get((run.protocol_digest, run.method, run.smoke))
    return own if own is not None else seconds.get((run.protocol_digest, "", run.smoke))
