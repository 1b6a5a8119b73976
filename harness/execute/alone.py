"""One run in a process of its own, for whoever starts such processes."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import torch

from harness.execute import rows
from harness.execute.assembly import open_table, resolve_device
from harness.execute.attempts import Shell, begin, make_attempt, numerics
from harness.execute.events import ExecutionOptions, Listener
from harness.plan import Run
from harness.store.schema import Status
from harness.store.writer import Store, write_attempt


def run_alone(
    run: Run, attempt_id: str, *, store: Store, options: ExecutionOptions, on_event: Listener
) -> str:
    """Do a run, write its row, and return `finished`, `failed` or `interrupted`.

    Args:
        run: What to do; whether it was done before is not asked.
        attempt_id: Under which its rows stand, so that whoever waits for this process can tell
            whether it left any.
        store: Where.
        options: How.
        on_event: Hears what happens.

    Raises:
        RunInUseError: Another process is at it.
        MissingDataError: The data or the weights are not here; there is no row.
        StoreError: No row can be written.
    """
    shell = Shell(store, options, resolve_device(options.device), on_event)
    attempt = begin(run, shell, attempt_id=attempt_id)
    with numerics(options):
        table = partial(open_table, run, options)
        ended, _ = make_attempt(attempt, table, shell, place=(1, 1), first=False)
    return ended


def record_end(
    run: Run,
    attempt_id: str,
    status: Status,
    *,
    store: Store,
    reason: tuple[str, str],
    seconds: float,
) -> Path:
    """Write the row of a run whose process ended without one.

    Args:
        run: What was tried.
        attempt_id: Of the attempt that ended.
        status: `failed` or `interrupted`.
        store: Where.
        reason: Class of the error, and what went wrong.
        seconds: From start to end.

    Raises:
        StoreError: The process left a row after all; it stands.
    """
    shell = Shell(store, ExecutionOptions(data_root=Path()), torch.device("cpu"), lambda _: None)
    attempt = begin(run, shell, attempt_id=attempt_id)
    attempt = replace(
        attempt,
        started=time.perf_counter() - seconds,
        started_at=datetime.now(UTC) - timedelta(seconds=seconds),
    )
    return write_attempt(store, rows.ended_early(attempt, status, *reason))
