"""The processes of runs: to start one, to end one, to tell why one has ended."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

from harness.study.cells import Cell
from harness.study.child import Job


@dataclass(slots=True)
class RunProcess:
    """The process of one run.

    Attributes:
        cell: The run.
        job: What the process was told.
        slot: Where it runs.
        process: Itself.
        channel: On which it says how far it is.
        started: Monotonic time.
        said: How the run ended, and why, in its own words.
        verdict: Class and message of the error for which the parent ended it.
    """

    cell: Cell
    job: Job
    slot: int
    process: ForkServerProcess
    channel: Connection
    started: float = field(default_factory=time.monotonic)
    said: tuple[str, str] | None = None
    verdict: tuple[str, str] | None = None

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self.started


@contextmanager
def terminated_as_interrupted() -> Generator[None]:
    """Let SIGTERM, which schedulers send before they kill, do what Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def launch(process: ForkServerProcess) -> None:
    """Start a process; the server that is forked for it may have been killed a moment ago."""
    try:
        process.start()
    except (OSError, EOFError):
        process.start()


def kill(one: RunProcess) -> None:
    """End a process and all that it started, if it is still there."""
    if one.process.pid:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(one.process.pid, signal.SIGKILL)
        if one.process.exitcode is None:
            one.process.kill()


def cause_of(one: RunProcess) -> tuple[str, str]:
    """Return why a process ended that said nothing, as far as its exit code tells."""
    code = one.process.exitcode
    where = f"its output is in {one.job.log}"
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        usual = ", as the kernel does when memory runs out" if name == "SIGKILL" else ""
        return "ProcessKilled", f"the process was ended by {name}{usual}; {where}"
    return "ProcessExited", f"the process left with exit code {code}; {where}"
