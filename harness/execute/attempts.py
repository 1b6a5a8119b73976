"""One attempt at a run: from its data to its rows, whatever happens to it."""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from harness.contracts import SampleTable
from harness.errors import HarnessError, MissingDataError, StoreError
from harness.execute import rows
from harness.execute.assembly import Assembled, assemble
from harness.execute.events import (
    ExecutionOptions,
    Listener,
    RunFailed,
    RunFinished,
    RunStarted,
)
from harness.execute.history import History
from harness.execute.rows import Attempt
from harness.execute.single import Result, resume, run_one
from harness.plan import Run
from harness.provenance import collect
from harness.store.writer import Store, lock, new_attempt_id, work_folder, write_attempt


@dataclass(frozen=True, slots=True)
class Shell:
    """What stays the same from run to run of one call."""

    store: Store
    options: ExecutionOptions
    device: torch.device
    emit: Listener


class UnfitPlanError(HarnessError):
    """The first run cannot be built: the request is wrong, nothing has failed yet."""


def begin(run: Run, shell: Shell, *, attempt_id: str | None = None) -> Attempt:
    """Return an attempt that starts now; it gets a fresh id unless it has one already."""
    return Attempt(
        attempt_id=attempt_id or new_attempt_id(),
        run=run,
        device=shell.device,
        provenance=collect(),
        started_at=datetime.now(UTC),
        started=time.perf_counter(),
    )


def make_attempt(
    attempt: Attempt,
    open_table: Callable[[], SampleTable],
    shell: Shell,
    *,
    place: tuple[int, int],
    first: bool,
) -> tuple[str, Path]:
    """Do one run and write its rows; return how it ended and the file that says so.

    Raises:
        RunInUseError: Another process is at it.
        MissingDataError: The data or the weights are not here; there is no row.
        UnfitPlanError: It cannot be built, and it is the first of a plan; there is no row.
    """
    run = attempt.run
    work = work_folder(shell.store, run.key)
    with lock(work):
        try:
            parts = _assemble(run, open_table(), shell, first=first)
            result, path = _run(attempt, parts, shell, work=work, place=place)
        except KeyboardInterrupt:
            row = rows.ended_early(attempt, "interrupted", "KeyboardInterrupt", "Ctrl-C")
            return "interrupted", write_attempt(shell.store, row)
        except UnfitPlanError:
            shutil.rmtree(work, ignore_errors=True)
            raise
        except (StoreError, MissingDataError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a plugin or the data raises is a row
            return "failed", _fail(attempt, error, shell, work=work)
        shutil.rmtree(work, ignore_errors=True)  # the rows are in the store: nothing to resume
    seconds = time.perf_counter() - attempt.started
    untrained = rows.untrained(result.history)
    shell.emit(RunFinished(run, result.test, untrained, result.selected_epoch, seconds, path))
    return "finished", path


def _assemble(run: Run, table: SampleTable, shell: Shell, *, first: bool) -> Assembled:
    """Build a run; the runs of a plan share what can be wrong here, so the first one tells.

    Raises:
        UnfitPlanError: The first run cannot be built.
        HarnessError: A later one cannot.
    """
    try:
        return assemble(run, table, device=shell.device, options=shell.options)
    except HarnessError as error:
        if first:
            raise UnfitPlanError(error.message, hint=error.hint) from error
        raise


def _run(
    attempt: Attempt, parts: Assembled, shell: Shell, *, work: Path, place: tuple[int, int]
) -> tuple[Result, Path]:
    run = attempt.run
    history = resume(run, parts, work=work)
    shell.emit(_started(run, parts, place=place, history=history))
    if shell.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(shell.device)
    result = run_one(run, parts, history, work=work, emit=shell.emit)
    if shell.options.save_embeddings and not rows.is_trial(run):  # nobody joins or shows those
        rows.save_embeddings(shell.store, attempt, result)
    path = write_attempt(
        shell.store,
        rows.finished(attempt, parts, result),
        metrics=rows.metrics(attempt, result),
        epochs=rows.epochs(result),
        queries=rows.queries(result),
    )
    return result, path


def _fail(attempt: Attempt, error: Exception, shell: Shell, *, work: Path) -> Path:
    """Write the row of a failed run, and the traceback beside its checkpoints."""
    (work / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
    name, message = type(error).__name__, _one_line(error)
    path = write_attempt(shell.store, rows.ended_early(attempt, "failed", name, message))
    shell.emit(RunFailed(attempt.run, name, message, path))
    return path


def _started(
    run: Run, parts: Assembled, *, place: tuple[int, int], history: History
) -> RunStarted:
    return RunStarted(
        run,
        index=place[0],
        total=place[1],
        num_train_images=len(parts.split.train),
        num_train_classes=len(parts.labels.class_ids),
        num_queries=len(parts.split.query),
        device=str(parts.device),
        resumed_epoch=history.last_epoch if history.records else None,
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def numerics(options: ExecutionOptions) -> Generator[None]:
    """Deterministic kernels and a thread count for the time of a plan, then as before."""
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    deterministic: Any = torch.utils.deterministic  # torch's stubs lack its one attribute
    filling = deterministic.fill_uninitialized_memory
    try:
        if options.threads:
            torch.set_num_threads(options.threads)
        # Not an error where an operation has no deterministic kernel: such a run is still a run.
        torch.use_deterministic_algorithms(mode=True, warn_only=True)
        deterministic.fill_uninitialized_memory = False
        with torch.backends.cudnn.flags(benchmark=False, deterministic=True):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(mode)
        deterministic.fill_uninitialized_memory = filling
