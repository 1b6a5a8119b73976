"""What a person or a program sees while a work list is done, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.durations import duration
from harness.cli.output import json_line
from harness.study.events import (
    CellEnded,
    CellProgress,
    CellSkipped,
    CellStarted,
    Tally,
    WorkEvent,
    WorkListener,
    WorkStarted,
)

if TYPE_CHECKING:
    from harness.study import Cell
    from harness.study.work import Work

SECONDS_BETWEEN_LINES = 10.0
COUNTS = {
    "finished": "finished now",
    "cached": "finished before",
    "failed": "failed",
    "interrupted": "interrupted (the same command goes on where it stopped)",
    "missing": "not run",
    "failed_trials": "trials without a value",
}
EVENT_NAMES: dict[type, str] = {
    WorkStarted: "work_started",
    CellStarted: "run_started",
    CellProgress: "epoch_done",
    CellEnded: "run_ended",
    CellSkipped: "run_skipped",
}


@contextmanager
def work_reporter(*, as_json: bool, interactive: bool) -> Generator[WorkListener]:
    """Provide the listener that fits where the output goes."""
    if as_json:
        yield print_json
    elif interactive:
        from harness.cli.work_table import WorkTable

        with WorkTable() as table:
            yield table
    else:
        yield PlainWork()


class Progress:
    """How far a work list is: what runs, and how long the rest takes."""

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self.plan = WorkStarted(0, 0, 1, None)
        self.began = time.monotonic()
        self.running: dict[str, CellProgress | CellStarted] = {}
        self.took: list[float] = []
        self.counts: dict[str, int] = {}

    def hear(self, event: WorkEvent) -> None:
        """Take an event into account."""
        match event:
            case WorkStarted():
                self.plan = event
                self.began = time.monotonic()
            case CellStarted() | CellProgress():
                self.running[event.cell.run.key] = event
            case CellEnded():
                self.running.pop(event.cell.run.key, None)
                self.counts[event.ended] = self.counts.get(event.ended, 0) + 1
                if event.ended == "finished":
                    self.took.append(event.seconds)
            case CellSkipped():
                self.counts["skipped"] = self.counts.get("skipped", 0) + 1

    @property
    def done(self) -> int:
        """Cells that need no more work."""
        return self.plan.cached + sum(self.counts.values())

    def seconds_left(self) -> float | None:
        """Return how long the rest takes, from the runs that have ended; else as planned."""
        if self.took:
            mean = sum(self.took) / len(self.took)
            return mean * (self.plan.total - self.done) / self.plan.jobs
        return self.plan.seconds

    def summary(self) -> str:
        """Return counts and time left on one line."""
        words = [f"{self.done} of {self.plan.total} done", f"{len(self.running)} running"]
        if failed := self.counts.get("failed", 0):
            words.append(f"{failed} failed")
        left = self.seconds_left()
        if left:
            words.append(f"about {duration(left)} left")
        return ", ".join(words)


class PlainWork:
    """Writes a line per run that ends, and at most one per ten seconds about the whole."""

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self.progress = Progress()
        self.last_line = time.monotonic()

    def __call__(self, event: WorkEvent) -> None:
        """Write what an event says, if it is time to."""
        self.progress.hear(event)
        for line in lines_of(event):
            click.echo(line, err=True)
        now = time.monotonic()
        if now - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = now
            click.echo(self.progress.summary(), err=True)


def lines_of(event: WorkEvent) -> list[str]:
    """Return an event as lines that stay."""
    match event:
        case WorkStarted():
            runs = f"{event.total} {'run' if event.total == 1 else 'runs'}"
            left = f", about {duration(event.seconds)}" if event.seconds else ""
            return [f"{runs}, {event.cached} finished before, {event.jobs} at a time{left}"]
        case CellEnded(ended="finished"):
            return [f"✓ {label(event.cell)}  {duration(event.seconds)}"]
        case CellEnded():
            why = f", {event.reason}" if event.reason else ""
            return [f"✗ {label(event.cell)}: {event.ended}{why}"]
        case CellSkipped():
            return [f"- {label(event.cell)}: not run, {event.reason or 'after a failed run'}"]
        case _:
            return []


def label(cell: Cell) -> str:
    """Return what tells a cell from the others of its work list."""
    run = cell.run
    return f"{run.protocol.name}  {run.method}  fold {run.fold}  seed {run.seed}"


def print_json(event: WorkEvent) -> None:
    """Write an event as one JSON object on stdout."""
    record: dict[str, object] = {"event": EVENT_NAMES[type(event)]}
    for name in event.__slots__:
        value = getattr(event, name)
        if name == "cell":
            run = value.run
            record |= {"run": run.key, "protocol": run.protocol.name, "method": run.method}
            record |= {"fold": run.fold, "seed": run.seed}
        else:
            record[name] = value
    json_line(record)


class WorkOutcome:
    """Remembers what matters at the end while events go by."""

    def __init__(self, command: str, store: Path) -> None:
        """Note what was typed, to say what may be typed again."""
        self.command, self.store = command, store
        self.failed: list[CellEnded] = []

    def also_hears(self, listener: WorkListener) -> WorkListener:
        """Return a listener that remembers and passes on."""

        def hear(event: WorkEvent) -> None:
            if isinstance(event, CellEnded) and event.ended == "failed":
                self.failed.append(event)
            listener(event)

        return hear

    def report(self, work: Work, tally: Tally, *, as_json: bool) -> int:
        """Print the end of a command and return its exit code."""
        code = exit_code(work, tally)
        if as_json:
            json_line({"event": "summary", **asdict(tally), "exit_code": code})
            return code
        counts = [f"{n} {words}" for name, words in COUNTS.items() if (n := getattr(tally, name))]
        for event in self.failed:
            click.echo(f"failed  {event.cell.run.key}  {label(event.cell)}: {event.reason}")
        click.echo(f"runs  {', '.join(counts) or 'none'}")
        click.echo(f"rows  {self.store}")
        click.echo(f"next  {self._next(work, tally)}")
        return code

    def _next(self, work: Work, tally: Tally) -> str:
        store = "" if str(self.store) == "runs" else f" --store {self.store}"
        failed = [event.cell for event in self.failed]
        if not tally.missing:  # some trial of each method has a value, so those that failed may
            failed = [cell for cell in failed if not cell.is_trial]
        if failed:
            return f"harness log {failed[0].run.key}{store}"
        protocols = [each.protocol.name for each in (*work.cells, *work.tuned)]
        if tally.interrupted or tally.missing or not protocols:
            return self.command + store
        return f"harness leaderboard {protocols[0]}{store}"


def exit_code(work: Work, tally: Tally) -> int:
    """Return the exit code of a work list, as the table in `harness --help` has it.

    A trial may fail: the search takes that for an answer.
    """
    if tally.interrupted:
        return 130
    if tally.finished + tally.cached + tally.failed_trials < work.num_cells:
        return 1
    deviates = [bool(cell.run.deviations) for cell in work.cells]
    deviates += [bool(each.request.deviations) for each in work.tuned]
    return 3 if any(deviates) else 0
