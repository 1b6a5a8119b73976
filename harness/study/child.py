"""The process of one run: what it is told, and how it keeps to itself.

It is forked from a server that has torch imported already. Its group of processes is its own, so
that it ends with everything below it and the terminal's Ctrl-C reaches it through its parent only.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.plan import Request, Run, make_plan
from harness.protocol import Protocol

if TYPE_CHECKING:
    from harness.execute import Event, ExecutionOptions
    from harness.store.writer import Store

OUTPUT = "output.txt"
MOST_LOADERS = 8
LIKELY_VICTIM = 500  # of the kernel when memory runs out, rather than the parent or a neighbour


@dataclass(frozen=True, slots=True)
class Job:
    """One run and the circumstances of its process; plain, it travels to another process.

    Attributes:
        attempt_id: Under which the rows stand.
        key: Of the run, as it was planned.
        protocol: As its file has it.
        request: For this fold and seed.
        load_plugins: As in the settings.
        store: Folder.
        log: File for what the process prints.
        options: Those of `ExecutionOptions` by name, but for the backend.
        backend: Its name.
        cache: Folder and bytes of prepared pixels; None keeps none.
        gpu: The only one it sees; None leaves all.
    """

    attempt_id: str
    key: str
    protocol: Protocol
    request: Request
    load_plugins: tuple[str, ...] | None
    store: Path
    log: Path
    options: dict[str, Any]
    backend: str
    cache: tuple[Path, int] | None
    gpu: str | None


def do_run(job: Job, channel: Connection) -> None:
    """Do a run, and tell the parent how far it is and how it ended."""
    _settle(job)
    try:
        channel.send(("ended", *_do(job, channel)))
    except KeyboardInterrupt:
        channel.send(("interrupted before the run began", "", ""))


def do_record(job: Job, status: Any, reason: tuple[str, str], seconds: float) -> None:  # noqa: ANN401 - Status needs pyarrow
    """Write the row of a run whose process ended without one."""
    from harness.errors import StoreError
    from harness.execute.alone import record_end
    from harness.store.writer import find_store

    _settle(job)
    run, _ = _plan(job)
    with suppress(StoreError):  # it left a row after all, in its last moment
        record_end(
            run,
            job.attempt_id,
            status,
            store=find_store(job.store),
            reason=reason,
            seconds=seconds,
        )


def _do(job: Job, channel: Connection) -> tuple[str, str]:
    """Return how the run ended, and why when it did not finish."""
    from harness.execute.alone import run_alone
    from harness.execute.events import EpochDone, RunFailed
    from harness.store.writer import RunInUseError, find_store

    reason = ""

    def hear(event: Event) -> None:
        nonlocal reason
        if isinstance(event, EpochDone):
            facts = (event.record.epoch, event.total_epochs, event.seconds_left)
            channel.send(("epoch", *facts))
        elif isinstance(event, RunFailed):
            reason = f"{event.error_type}: {event.message}"

    store: Store = find_store(job.store)
    try:
        run, options = _plan(job)
        ended = run_alone(run, job.attempt_id, store=store, options=options, on_event=hear)
    except RunInUseError as error:
        return "busy", error.message
    except HarnessError as error:  # no data, no such device, a full disk: nothing has been tried
        return "unavailable", str(error)
    return ended, reason


def _plan(job: Job) -> tuple[Run, ExecutionOptions]:
    """Plan the run again from what the parent planned it from."""
    from harness.data.cache import CachePlace
    from harness.execute import ExecutionOptions
    from harness.registry import discover

    registry = discover(only=job.load_plugins)
    (run,) = make_plan(job.protocol, registry, job.request)
    if run.key != job.key:
        raise HarnessError(
            f"run {job.key} has become {run.key}: a plugin or a weight file has changed",
            hint="start the study again",
        )
    card = registry.get("backend", job.backend).card
    options = ExecutionOptions(
        backend=card.build(card.params(), None),
        cache=CachePlace(*job.cache) if job.cache else None,
        **job.options,
    )
    if options.workers < 0:
        options = replace(options, workers=_loaders(options))
    return run, options


def _loaders(options: ExecutionOptions) -> int:
    """Return 0 on a CPU, where training needs the cores; else as many as there are threads."""
    from harness.execute.assembly import resolve_device

    on_cpu = resolve_device(options.device).type == "cpu"
    return 0 if on_cpu else min(MOST_LOADERS, options.threads or 1)


def _settle(job: Job) -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with suppress(OSError):  # not everywhere, and only ever upwards
        Path("/proc/self/oom_score_adj").write_text(str(LIKELY_VICTIM))
    if job.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = job.gpu
    job.log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    faulthandler.enable()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this whole group when the parent is gone, however it went."""
    parent = parent_process()
    assert parent is not None, "only a child waits for its parent"
    wait([parent.sentinel])
    os.killpg(0, signal.SIGKILL)
