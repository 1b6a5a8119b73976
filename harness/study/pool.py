"""Do the cells of a work list, one process per run; the parent itself imports no torch.

Whatever becomes of a process (a crash, the kernel's out-of-memory killer, a hang), its run ends
as a row and the next one starts.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.study.cells import Cell
from harness.study.events import CellEnded, CellSkipped, Tally, WorkListener, WorkStarted
from harness.study.ledger import Ledger
from harness.study.options import PoolOptions
from harness.study.processes import RunProcess, cause_of, kill, terminated_as_interrupted
from harness.study.slots import Slots
from harness.study.state import compare_data, states_of

if TYPE_CHECKING:
    from harness.store.writer import Store
    from harness.study.work import Searches

SECONDS_BETWEEN_TRIES = 1.0  # for a run that another process is at


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
        pool.slots.close()
    return pool.tally


class _Pool:
    """What waits for a slot, and what becomes of what was in one."""

    def __init__(
        self,
        store: Store,
        options: PoolOptions,
        emit: WorkListener,
        searches: Searches | None = None,
    ) -> None:
        self.store, self.options, self.emit = store, options, emit
        self.searches = searches
        self.slots = Slots(store, options, emit)
        self.ledger = Ledger(store)
        self.waiting: deque[Cell] = deque()
        self.not_before: dict[str, float] = {}  # run key -> when to try again
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
        if existing != "always":
            compare_data(cached, self.store, self.options.run["data_root"])
        self.tally.cached = ended + len(cells) - len(to_do)
        self._say_how_much(to_do, total)
        if existing == "only-cache":
            self._skip(to_do, "not in the store")
            return
        self.waiting.extend(to_do)
        if to_do:
            self._keep_protocols(to_do)
            self.slots.preload({ch.origin.module for c in to_do for _, ch in c.run.components})

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
        while self.waiting or self.slots.running:
            for slot in self.slots.free:
                self._start_next(slot)
            for one in self.slots.ended():
                self._end(one)

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
                self.slots.start(cell, slot)
                return

    def _ask(self, cell: Cell) -> None:
        """Queue what a search asks for now that one of its runs has ended.

        Trials go first: more of them wait for these.
        """
        if self.searches is None:
            return
        ended, refused = self.searches.num_ended, self.searches.num_refused
        more = self.searches.after(cell)
        self.tally.cached += self.searches.num_ended - ended
        self.tally.failed_trials += self.searches.num_refused - refused
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

    # --- ends ---------------------------------------------------------------------------------

    def _end(self, one: RunProcess, *, interrupted: bool = False) -> None:
        """Count a run whose process is gone, and write its row where it left none."""
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
        """Write the row of a run that left none, and return how it counts."""
        kill(one)  # whatever it started may have outlived it
        status = "interrupted" if interrupted and not one.verdict else "failed"
        reason = one.verdict or (("KeyboardInterrupt", "Ctrl-C") if interrupted else cause_of(one))
        self.slots.record(one, status, reason)
        if self.ledger.wrote(one.job.attempt_id):
            key = one.cell.run.key
            if self.ledger.has(key, refresh=True):
                return "finished", ""  # its own row was written in its last moment
        return status, ": ".join(reason)

    def interrupt(self) -> None:
        """End what runs, each run with a row of its own."""
        self.waiting.clear()
        for one in self.slots.interrupt():
            self._end(one, interrupted=True)
