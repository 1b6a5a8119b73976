"""What a caller hears while the cells of a work list are done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from harness.study.cells import Cell

Ended = Literal["finished", "failed", "interrupted", "unavailable"]


@dataclass(frozen=True, slots=True)
class WorkStarted:
    """The first event.

    Attributes:
        total: Cells of the work list.
        cached: Of these, finished before.
        jobs: Runs at a time.
        seconds: Estimate for the rest, from earlier runs; None when nothing is known.
    """

    total: int
    cached: int
    jobs: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class CellStarted:
    """A process for a run has been started."""

    cell: Cell
    slot: int


@dataclass(frozen=True, slots=True)
class CellProgress:
    """An epoch of a run has ended; `seconds_left` is the run's own estimate."""

    cell: Cell
    slot: int
    epoch: int
    total_epochs: int
    seconds_left: float


@dataclass(frozen=True, slots=True)
class CellEnded:
    """A run has ended; its row is in the store unless its data was `unavailable`."""

    cell: Cell
    ended: Ended
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class CellSkipped:
    """A run was not started, and why."""

    cell: Cell
    reason: str


WorkEvent = WorkStarted | CellStarted | CellProgress | CellEnded | CellSkipped
WorkListener = Callable[[WorkEvent], None]


@dataclass(slots=True)
class Tally:
    """How a work list ended; the counts add up to the list unless it was cut short.

    Attributes:
        finished: Now.
        cached: Finished before, or meanwhile by somebody else.
        failed: With a row that says why.
        interrupted: By Ctrl-C; the same command goes on.
        missing: Not run: not allowed to, or without their data.
        failed_trials: Trials without a value; a search takes that for an answer.
    """

    finished: int = 0
    cached: int = 0
    failed: int = 0
    interrupted: int = 0
    missing: int = 0
    failed_trials: int = 0
