"""Many runs, one after another; each ends as rows, whatever happens to it."""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from harness.contracts import SampleTable
from harness.errors import HarnessError, StoreError
from harness.execute import rows
from harness.execute.assembly import (
    Assembled,
    assemble,
    backbone_context,
    open_table,
    resolve_device,
)
from harness.execute.events import (
    Downloading,
    ExecutionOptions,
    Listener,
    PlanStarted,
    RunFailed,
    RunFinished,
    RunSkipped,
    RunStarted,
    Summary,
)
from harness.execute.history import History
from harness.execute.rows import Attempt
from harness.execute.single import Result, resume, run_one
from harness.plan import Run
from harness.protocol import dump
from harness.provenance import collect
from harness.specs import BackboneSpec
from harness.store.writer import (
    Store,
    finished_keys,
    lock,
    new_attempt_id,
    work_folder,
    write_attempt,
    write_protocol,
)
from harness.weights import resolve


@dataclass(frozen=True, slots=True)
class _Shell:
    """What stays the same from run to run of one call."""

    store: Store
    options: ExecutionOptions
    device: torch.device
    emit: Listener


def run_all(
    plan: Sequence[Run], *, store: Store, options: ExecutionOptions, on_event: Listener
) -> Summary:
    """Do the runs of a plan that the store does not hold yet.

    A run that fails becomes a `failed` row and the next one starts. The first Ctrl-C ends the
    current run with an `interrupted` row (its checkpoint stays, so it can go on later) and the
    plan with it; a second one stops at once.

    Raises:
        HarnessError: Something all runs need is missing (device, data set, weights, store), or
            the first cannot be built; no row has been written then.
    """
    shell = _Shell(store, options, resolve_device(options.device), on_event)
    finished = finished_keys(store)
    cached = sum(run.key in finished for run in plan)
    if options.existing == "never" and cached:
        raise HarnessError(
            f"{cached} of {len(plan)} runs are in the store already",
            hint="use --existing only-missing to skip them or always to repeat them",
        )
    on_event(PlanStarted(len(plan), cached))
    to_do = [run for run in plan if not _skip_reason(run, finished, options)]
    tables = _open_tables(to_do, options)
    _check_weights(to_do, options, on_event)
    _keep_protocols(to_do, store)
    summary = Summary()
    with _numerics(options):
        for index, run in enumerate(plan, start=1):
            reason = _skip_reason(run, finished, options)
            if reason:
                on_event(RunSkipped(run, reason))
                summary = replace(summary, cached=summary.cached + (run.key in finished))
                continue
            table = tables[_table_key(run)]
            first = not summary.paths
            ended = _attempt(run, table, shell, place=(index, len(plan)), first=first)
            summary = _add(summary, ended)
            if summary.interrupted or (options.fail_fast and summary.failed):
                break
    return summary


def _skip_reason(run: Run, finished: frozenset[str], options: ExecutionOptions) -> str:
    if options.existing == "always":
        return ""
    if run.key in finished:
        return "finished before"
    return "not in the store" if options.existing == "only-cache" else ""


def _table_key(run: Run) -> tuple[str, str, str, bool]:
    chosen = run.dataset
    owner, params = chosen.origin.distribution, chosen.params.model_dump_json()
    return owner, chosen.card.name, params, run.smoke


def _open_tables(
    plan: Sequence[Run], options: ExecutionOptions
) -> dict[tuple[str, str, str, bool], SampleTable]:
    """Open every data set once, before anything is trained: a missing one costs no hours."""
    tables: dict[tuple[str, str, str, bool], SampleTable] = {}
    for run in plan:
        if _table_key(run) not in tables:
            tables[_table_key(run)] = open_table(run, options)
    return tables


def _check_weights(plan: Sequence[Run], options: ExecutionOptions, emit: Listener) -> None:
    """Find, or fetch if that is allowed, every weight file before anything is trained."""
    for run in {(r.backbone.card.name, r.protocol.backbone.weights): r for r in plan}.values():
        card, weights = run.backbone.card, run.protocol.backbone.weights
        assert isinstance(card, BackboneSpec), card
        name = f"{card.name} {weights}"

        def hear(received: int, total: int | None, name: str = name) -> None:
            emit(Downloading(name, received, total))

        resolve(card.weights, backbone_context(weights, options), progress=hear)


def _keep_protocols(plan: Sequence[Run], store: Store) -> None:
    """Keep the text of each protocol beside its rows, for whoever reads them without it."""
    for digest, written in {run.protocol_digest: run.written for run in plan}.items():
        write_protocol(store, digest, dump(written))


class _UnfitPlanError(HarnessError):
    """The first run cannot be built: the request is wrong, nothing has failed yet."""


def _attempt(
    run: Run, table: SampleTable, shell: _Shell, *, place: tuple[int, int], first: bool
) -> tuple[str, Path]:
    """Do one run and write its rows; return how it ended and the file that says so."""
    attempt = Attempt(
        attempt_id=new_attempt_id(),
        run=run,
        device=shell.device,
        provenance=collect(),
        started_at=datetime.now(UTC),
        started=time.perf_counter(),
    )
    work = work_folder(shell.store, run.key)
    with lock(work):
        try:
            parts = _assemble(run, table, shell, first=first)
            result, path = _run(attempt, parts, shell, work=work, place=place)
        except KeyboardInterrupt:
            row = rows.ended_early(attempt, "interrupted", "KeyboardInterrupt", "Ctrl-C")
            return "interrupted", write_attempt(shell.store, row)
        except _UnfitPlanError:
            shutil.rmtree(work, ignore_errors=True)
            raise
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a plugin or the data raises is a row
            return "failed", _fail(attempt, error, shell, work=work)
        shutil.rmtree(work, ignore_errors=True)  # the rows are in the store: nothing to resume
    seconds = time.perf_counter() - attempt.started
    untrained = rows.untrained(result.history)
    shell.emit(RunFinished(run, result.test, untrained, result.selected_epoch, seconds, path))
    return "finished", path


def _assemble(run: Run, table: SampleTable, shell: _Shell, *, first: bool) -> Assembled:
    """Build a run; the runs of a plan share what can be wrong here, so the first one tells.

    Raises:
        _UnfitPlanError: The first run cannot be built.
        HarnessError: A later one cannot.
    """
    try:
        return assemble(run, table, device=shell.device, options=shell.options)
    except HarnessError as error:
        if first:
            raise _UnfitPlanError(error.message, hint=error.hint) from error
        raise


def _run(
    attempt: Attempt, parts: Assembled, shell: _Shell, *, work: Path, place: tuple[int, int]
) -> tuple[Result, Path]:
    run = attempt.run
    history = resume(run, parts, work=work)
    shell.emit(_started(run, parts, place=place, history=history))
    if shell.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(shell.device)
    result = run_one(run, parts, history, work=work, emit=shell.emit)
    if shell.options.save_embeddings:
        rows.save_embeddings(shell.store, attempt, result)
    path = write_attempt(
        shell.store,
        rows.finished(attempt, parts, result),
        metrics=rows.metrics(attempt, result),
        epochs=rows.epochs(result),
        queries=rows.queries(result),
    )
    return result, path


def _fail(attempt: Attempt, error: Exception, shell: _Shell, *, work: Path) -> Path:
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


def _add(summary: Summary, ended: tuple[str, Path]) -> Summary:
    how, path = ended
    return replace(summary, **{how: getattr(summary, how) + 1}, paths=(*summary.paths, path))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def _numerics(options: ExecutionOptions) -> Generator[None]:
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
