"""Places where runs are done, each run in a process of its own.

A server process imports torch once and is forked for each run, so that a run costs little more
than itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from typing import TYPE_CHECKING

from harness.study.cells import Cell
from harness.study.child import OUTPUT, Job, do_record, do_run
from harness.study.events import CellProgress, CellStarted, WorkListener
from harness.study.machine import num_cpus, resident_bytes
from harness.study.options import PoolOptions
from harness.study.processes import RunProcess, kill, launch

if TYPE_CHECKING:
    from harness.store.writer import Store

TICK = 0.2  # seconds between looks at time and memory
SECONDS_TO_WRITE = 60.0  # the row of somebody who has died
SECONDS_TO_END = 20.0  # after Ctrl-C, for a run to write its own row
PRELOADED = ("harness.execute.alone", "harness.store.database", "torchvision.transforms.v2")


class Slots:
    """Processes of runs: started, listened to, held to their limits, ended."""

    def __init__(self, store: Store, options: PoolOptions, emit: WorkListener) -> None:
        """Start nothing yet."""
        self.store, self.options, self.emit = store, options, emit
        self.gpus = options.slots()
        self.running: dict[int, RunProcess] = {}  # by slot
        self.context: ForkServerContext = multiprocessing.get_context("forkserver")

    def __len__(self) -> int:
        """Return how many runs may be at work."""
        return len(self.gpus)

    @property
    def free(self) -> tuple[int, ...]:
        """Slots without a run."""
        return tuple(slot for slot in range(len(self)) if slot not in self.running)

    def preload(self, plugins: Iterable[str]) -> None:
        """Have these modules imported once, before the first run is started."""
        self.context.set_forkserver_preload([*PRELOADED, *sorted(plugins)])

    def start(self, cell: Cell, slot: int) -> None:
        """Start the process of a run."""
        job = self._job(cell, self.gpus[slot])
        ours, theirs = self.context.Pipe(duplex=False)
        process = self.context.Process(target=do_run, args=(job, theirs))
        launch(process)
        theirs.close()
        self.running[slot] = RunProcess(cell, job, slot, process, ours)
        self.emit(CellStarted(cell, slot))

    def _job(self, cell: Cell, gpu: str | None) -> Job:
        from harness.store.writer import WORK, new_attempt_id

        options = self.options
        return Job(
            attempt_id=new_attempt_id(),
            key=cell.run.key,
            protocol=cell.protocol,
            request=cell.request,
            load_plugins=options.load_plugins,
            store=self.store.root.resolve(),
            log=(self.store.root / WORK / cell.run.key / OUTPUT).resolve(),
            options={
                "device": options.device,
                "threads": options.threads or max(1, num_cpus() // len(self)),
                **options.run,
            },
            backend=options.backend,
            cache=options.cache,
            gpu=gpu,
        )

    def ended(self) -> list[RunProcess]:
        """Wait a moment; hear what the processes say, and return those that have ended."""
        by_door: dict[object, RunProcess] = {}
        for one in self.running.values():
            by_door[one.process.sentinel] = one
            if not one.channel.closed:
                by_door[one.channel] = one
        if not by_door:
            time.sleep(TICK)
            return []
        ready = wait(list(by_door), timeout=TICK)  # type: ignore[arg-type] - sentinels are ints
        heard = {id(by_door[door]): by_door[door] for door in ready}.values()
        found = [one for one in heard if self._hear(one)]
        self._hold_to_limits()
        return found

    def _hear(self, one: RunProcess) -> bool:
        """Take what a process says; return whether it has ended, and then free its slot."""
        self._take(one)
        if one.process.is_alive():
            return False
        self._take(one)  # what it said last
        self._free(one)
        return True

    def _take(self, one: RunProcess) -> None:
        try:
            while not one.channel.closed and one.channel.poll():
                match one.channel.recv():
                    case ("epoch", epoch, total, left):
                        self.emit(CellProgress(one.cell, one.slot, epoch, total, left))
                    case ("ended", ended, reason):
                        one.said = (ended, reason)
                    case _:
                        pass
        except (EOFError, OSError):
            one.channel.close()

    def _free(self, one: RunProcess) -> None:
        del self.running[one.slot]
        one.channel.close()

    def _hold_to_limits(self) -> None:
        """End the processes that take too long or too much."""
        for one in self.running.values():
            if one.verdict or one.said:
                continue
            if self.options.timeout and one.seconds > self.options.timeout:
                one.verdict = ("Timeout", f"still running after {self.options.timeout:g} s")
            elif (limit := self.options.max_memory) and one.process.pid:
                used = resident_bytes(one.process.pid)
                if used > limit:
                    words = f"{used / 2**20:.0f} MiB in use, {limit / 2**20:.0f} allowed"
                    one.verdict = ("OutOfMemory", words)
            if one.verdict:
                kill(one)

    def record(self, one: RunProcess, status: str, reason: tuple[str, str]) -> None:
        """Write the row of a run that left none, from a process like its own."""
        args = (one.job, status, reason, one.seconds)
        process = self.context.Process(target=do_record, args=args)
        launch(process)
        process.join(SECONDS_TO_WRITE)

    def interrupt(self) -> Iterator[RunProcess]:
        """Ask the processes to end, and yield each that has; end those that do not listen."""
        for one in self.running.values():
            with suppress(ProcessLookupError, PermissionError):
                if one.process.pid:
                    os.kill(one.process.pid, signal.SIGINT)
        until = time.monotonic() + SECONDS_TO_END
        while self.running and time.monotonic() < until:
            wait([one.process.sentinel for one in self.running.values()], timeout=TICK)
            yield from [one for one in list(self.running.values()) if self._hear(one)]
        for one in list(self.running.values()):
            kill(one)
            one.process.join()
            self._take(one)
            self._free(one)
            yield one

    def close(self) -> None:
        """Leave no process behind."""
        for one in self.running.values():
            kill(one)
