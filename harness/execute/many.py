"""Many runs, one after another; each ends as rows, whatever happens to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from harness.contracts import SampleTable
from harness.data.changes import FinishedRun, warn_of_changes
from harness.errors import HarnessError
from harness.execute.assembly import (
    backbone_context,
    open_table,
    resolve_device,
)
from harness.execute.attempts import Shell, begin, make_attempt, numerics
from harness.execute.events import (
    Downloading,
    ExecutionOptions,
    Listener,
    PlanStarted,
    RunSkipped,
    Summary,
)
from harness.plan import Run
from harness.protocol import dump
from harness.specs import BackboneSpec, DatasetSpec
from harness.store.writer import (
    Store,
    finished_data,
    finished_keys,
    write_protocol,
)
from harness.weights import resolve


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
    shell = Shell(store, options, resolve_device(options.device), on_event)
    finished = finished_keys(store)
    cached = sum(run.key in finished for run in plan)
    if options.existing == "never" and cached:
        raise HarnessError(
            f"{cached} of {len(plan)} runs are in the store already",
            hint="use --existing only-missing to skip them or always to repeat them",
        )
    on_event(PlanStarted(len(plan), cached))
    _compare_data([run for run in plan if run.key in finished], store, options)
    to_do = [run for run in plan if not _skip_reason(run, finished, options)]
    tables = _open_tables(to_do, options, on_event)
    _check_weights(to_do, options, on_event)
    _keep_protocols(to_do, store)
    summary = Summary()
    with numerics(options):
        for index, run in enumerate(plan, start=1):
            reason = _skip_reason(run, finished, options)
            if reason:
                on_event(RunSkipped(run, reason))
                summary = replace(summary, cached=summary.cached + (run.key in finished))
                continue
            table = partial(tables.__getitem__, _table_key(run))
            place, first = (index, len(plan)), not summary.paths
            ended = make_attempt(begin(run, shell), table, shell, place=place, first=first)
            summary = _add(summary, ended)
            if summary.interrupted or (options.fail_fast and summary.failed):
                break
    return summary


def _compare_data(skipped: Sequence[Run], store: Store, options: ExecutionOptions) -> None:
    """Warn where finished runs are of other data than there is now; smoke runs are of parts."""
    if options.existing == "always" or not skipped:
        return
    digests = finished_data(store)
    known = [run for run in skipped if run.key in digests and not run.smoke]
    warn_of_changes([_finished(run, digests[run.key]) for run in known], options.data_root)


def _finished(run: Run, digests: frozenset[str]) -> FinishedRun:
    card = run.dataset.card
    assert isinstance(card, DatasetSpec), card
    return FinishedRun(card, run.dataset.params, run.protocol.split, digests)


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
    plan: Sequence[Run], options: ExecutionOptions, emit: Listener
) -> dict[tuple[str, str, str, bool], SampleTable]:
    """Open every data set once, before anything is trained: a missing one costs no hours."""
    tables: dict[tuple[str, str, str, bool], SampleTable] = {}
    for run in plan:
        if _table_key(run) not in tables:
            tables[_table_key(run)] = open_table(run, options, emit)
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


def _add(summary: Summary, ended: tuple[str, Path]) -> Summary:
    how, path = ended
    return replace(summary, **{how: getattr(summary, how) + 1}, paths=(*summary.paths, path))
