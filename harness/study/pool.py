"""Do the cells of a work list, one process per run; the parent itself imports no torch.

A server process imports torch once and is forked for each run, so that a run costs little more
than itself. Whatever becomes of a process (a crash, the kernel's out-of-memory killer, a hang),
its run ends as a row and the next one starts.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.study.cells import Cell
from harness.study.child import OUTPUT, Job, do_record, do_run
from harness.study.events import (
    CellEnded,
    CellProgress,
    CellSkipped,
    CellStarted,
    Tally,
    WorkListener,
    WorkStarted,
)
from harness.study.ledger import Ledger
from harness.study.machine import num_cpus, resident_bytes
from harness.study.options import PoolOptions
from harness.study.processes import (
    RunProcess,
    cause_of,
    kill,
    launch,
    terminated_as_interrupted,
)
from harness.study.state import states_of

if TYPE_CHECKING:
    from harness.store.writer import Store
    from harness.study.work import Searches

TICK = 0.2  # seconds between looks at time and memory
SECONDS_TO_WRITE = 60.0  # the row of somebody who has died
SECONDS_TO_END = 20.0  # after Ctrl-C, for a run to write its own row
SECONDS_BETWEEN_TRIES = 1.0  # for a run that another process is at
PRELOADED = ("harness.execute.alone", "harness.store.database", "torchvision.transforms.v2")


def run_cells(
    cells: Sequence[Cell],
    *,
    store: Store,
    options: PoolOptions,
    on_event: WorkListener,
    searches: Searches | None = None,
) -> Tally:
    """Do the cells that the store does not hold yet, and what the searches ask for meanwhile.

    The first Ctrl-C starts nothing more and ends what runs with `interrupted` rows; a second one
    stops at once. Several callers may share a work list: a run that another is at is left to it,
    and of a run done twice one counts.

    Raises:
        HarnessError: A run is finished and `existing` is `never`; nothing was started.
        KeyboardInterrupt: The second Ctrl-C.
    """
    pool = _Pool(store, options, on_event, searches)
    pool.plan(cells)
    try:
        with terminated_as_interrupted():
            pool.work()
    except KeyboardInterrupt:
        pool.interrupt()
    finally:
        pool.close()
    return pool.tally


class _Pool:
    """Slots, what waits for one, and what runs in one."""

    def __init__(
        self,
        store: Store,
        options: PoolOptions,
        emit: WorkListener,
        searches: Searches | None = None,
    ) -> None:
        self.store, self.options, self.emit = store, options, emit
        self.searches = searches
        self.slots = options.slots()
        self.ledger = Ledger(store)
        self.waiting: deque[Cell] = deque()
        self.not_before: dict[str, float] = {}  # run key -> when to try again
        self.running: dict[int, RunProcess] = {}  # by slot
        self.context: ForkServerContext = multiprocessing.get_context("forkserver")
        self.tally = Tally()

    # --- planning -----------------------------------------------------------------------------

    def plan(self, cells: Sequence[Cell]) -> None:
        """Queue what is to be done, and say what is not."""
        existing = self.options.existing
        total, ended = len(cells), 0
        if self.searches is not None:
            total += self.searches.num_cells
            cells = [*self.searches.begin(), *cells]
            ended = self.searches.num_ended
        cached = [cell for cell in cells if self.ledger.has(cell.run.key)]
        if existing == "never" and (ended or cached):
            raise HarnessError(
                f"{ended + len(cached)} of {total} runs are in the store already",
                hint="use --existing only-missing to skip them or always to repeat them",
            )
        to_do = [c for c in cells if existing == "always" or not self.ledger.has(c.run.key)]
        self.tally.cached = ended + len(cells) - len(to_do)
        self._say_how_much(to_do, total)
        if existing == "only-cache":
            self._skip(to_do, "not in the store")
            return
        self.waiting.extend(to_do)
        if to_do:
            self._keep_protocols(to_do)
            plugins = {chosen.origin.module for c in to_do for _, chosen in c.run.components}
            self.context.set_forkserver_preload([*PRELOADED, *sorted(plugins)])

    def _say_how_much(self, to_do: Sequence[Cell], total: int) -> None:
        seconds = [state.seconds for state in states_of(to_do, self.store)]
        known = [one for one in seconds if one is not None]
        rest = total - self.tally.cached
        left = sum(known) / len(known) * rest / len(self.slots) if known else None
        self.emit(WorkStarted(total, self.tally.cached, len(self.slots), left))

    def _keep_protocols(self, cells: Sequence[Cell]) -> None:
        from harness.protocol import dump
        from harness.store.writer import write_protocol

        for digest, written in {c.run.protocol_digest: c.run.written for c in cells}.items():
            write_protocol(self.store, digest, dump(written))

    def _skip(self, cells: Sequence[Cell], reason: str) -> None:
        for cell in cells:
            self.tally.missing += 1
            self.emit(CellSkipped(cell, reason))

    # --- working ------------------------------------------------------------------------------

    def work(self) -> None:
        """Fill the slots until nothing waits and nothing runs."""
        self._skip_impossible()
        while self.waiting or self.running:
            for slot in range(len(self.slots)):
                if slot not in self.running:
                    self._start_next(slot)
            self._listen(TICK)
            self._watch()

    def _start_next(self, slot: int) -> None:
        """Start the first waiting run that is neither done meanwhile nor somebody else's."""
        for _ in range(len(self.waiting)):
            cell = self.waiting.popleft()
            key = cell.run.key
            if self.not_before.get(key, 0.0) > time.monotonic():
                self.waiting.append(cell)
            elif self.options.existing != "always" and self.ledger.has(key, refresh=True):
                self.tally.cached += 1
                self.emit(CellSkipped(cell, "finished meanwhile"))
                self._ask(cell)
            elif cell.is_trial and self.ledger.has_failed(key):
                self.tally.failed_trials += 1
                self.emit(CellSkipped(cell, "failed meanwhile"))
                self._ask(cell)
            elif self._is_taken(key):
                self._put_back(cell)
            else:
                self._start(cell, slot)
                return

    def _ask(self, cell: Cell) -> None:
        """Queue what a search asks for now that one of its runs has ended.

        Trials go first: more of them wait for these.
        """
        if self.searches is None:
            return
        before = self.searches.num_refused
        more = self.searches.after(cell)
        self.tally.failed_trials += self.searches.num_refused - before
        if more and more[0].is_trial:
            self.waiting.extendleft(reversed(more))
        else:
            self.waiting.extend(more)
        self._skip_impossible()

    def _skip_impossible(self) -> None:
        for cell, reason in self.searches.skipped if self.searches else ():
            self._skip([cell], reason)
        if self.searches:
            self.searches.skipped.clear()

    def _is_taken(self, key: str) -> bool:
        from harness.store.writer import in_use

        return in_use(self.store, key)

    def _put_back(self, cell: Cell) -> None:
        self.not_before[cell.run.key] = time.monotonic() + SECONDS_BETWEEN_TRIES
        self.waiting.append(cell)

    def _start(self, cell: Cell, slot: int) -> None:
        from harness.store.writer import WORK, new_attempt_id

        options = self.options
        job = Job(
            attempt_id=new_attempt_id(),
            key=cell.run.key,
            protocol=cell.protocol,
            request=cell.request,
            load_plugins=options.load_plugins,
            store=self.store.root.resolve(),
            log=(self.store.root / WORK / cell.run.key / OUTPUT).resolve(),
            options={
                "device": options.device,
                "threads": options.threads or max(1, num_cpus() // len(self.slots)),
                **options.run,
            },
            backend=options.backend,
            cache=options.cache,
            gpu=self.slots[slot],
        )
        ours, theirs = self.context.Pipe(duplex=False)
        process = self.context.Process(target=do_run, args=(job, theirs))
        launch(process)
        theirs.close()
        self.running[slot] = RunProcess(cell, job, slot, process, ours)
        self.emit(CellStarted(cell, slot))

    def _listen(self, seconds: float) -> None:
        """Take what the processes say, and bury those that have ended."""
        by_door: dict[object, RunProcess] = {}
        for one in self.running.values():
            by_door[one.process.sentinel] = one
            if not one.channel.closed:
                by_door[one.channel] = one
        if not by_door:
            time.sleep(seconds)
            return
        ready = wait(list(by_door), timeout=seconds)  # type: ignore[arg-type] - sentinels are ints
        for one in {id(by_door[door]): by_door[door] for door in ready}.values():
            self._hear(one)
            if not one.process.is_alive():
                self._hear(one)  # what it said last
                self._end(one)

    def _hear(self, one: RunProcess) -> None:
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

    def _watch(self) -> None:
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

    # --- ends ---------------------------------------------------------------------------------

    def _end(self, one: RunProcess, *, interrupted: bool = False) -> None:
        """Count a run whose process is gone, and write its row where it left none."""
        del self.running[one.slot]
        one.channel.close()
        ended, reason = one.said or self._bury(one, interrupted=interrupted)
        cell = one.cell
        match ended:
            case "busy":
                self._put_back(cell)
                return
            case "unavailable":
                self._skip([cell, *self._drop(cell)], reason)
                return
            case "finished":
                self.tally.finished += 1
                self.ledger.add(cell.run.key)
            case "interrupted":
                self.tally.interrupted += 1
            case _ if cell.is_trial:
                self.tally.failed_trials += 1
            case _:
                self.tally.failed += 1
                if self.options.fail_fast:
                    self._skip([self.waiting.popleft() for _ in range(len(self.waiting))], "")
        assert ended in {"finished", "interrupted", "failed"}, ended
        self.emit(CellEnded(cell, ended, reason, one.seconds))  # type: ignore[arg-type] - as asserted
        if ended != "interrupted" and not interrupted:
            self._ask(cell)

    def _drop(self, cell: Cell) -> list[Cell]:
        """Take the runs out of the queue that need the same data and weights."""
        same = [c for c in self.waiting if c.run.protocol_digest == cell.run.protocol_digest]
        self.waiting = deque(c for c in self.waiting if c not in same)
        return same

    def _bury(self, one: RunProcess, *, interrupted: bool) -> tuple[str, str]:
        """Write the row of a run that left none, from a process like its own."""
        kill(one)  # whatever it started may have outlived it
        status = "interrupted" if interrupted and not one.verdict else "failed"
        reason = one.verdict or (("KeyboardInterrupt", "Ctrl-C") if interrupted else cause_of(one))
        args = (one.job, status, reason, one.seconds)
        process = self.context.Process(target=do_record, args=args)
        launch(process)
        process.join(SECONDS_TO_WRITE)
        if self.ledger.wrote(one.job.attempt_id):
            key = one.cell.run.key
            if self.ledger.has(key, refresh=True):
                return "finished", ""  # its own row was written in its last moment
        return status, ": ".join(reason)

    def interrupt(self) -> None:
        """End what runs, each run with a row of its own."""
        self.waiting.clear()
        for one in self.running.values():
            with suppress(ProcessLookupError, PermissionError):
                if one.process.pid:
                    os.kill(one.process.pid, signal.SIGINT)
        until = time.monotonic() + SECONDS_TO_END
        while self.running and time.monotonic() < until:
            self._listen_interrupted()
        for one in list(self.running.values()):
            kill(one)
            one.process.join()
            self._hear(one)
            self._end(one, interrupted=True)

    def _listen_interrupted(self) -> None:
        wait([one.process.sentinel for one in self.running.values()], timeout=TICK)
        for one in list(self.running.values()):
            self._hear(one)
            if not one.process.is_alive():
                self._hear(one)
                self._end(one, interrupted=True)

    def close(self) -> None:
        """Leave no process behind."""
        for one in self.running.values():
            kill(one)
