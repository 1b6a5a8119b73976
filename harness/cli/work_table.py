"""The live table of a work list on a terminal: what runs, how far it is, what is left."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.cli.durations import duration
from harness.cli.work import Progress, label, lines_of
from harness.study.events import CellEnded, CellProgress, CellStarted, WorkEvent


class WorkTable:
    """Shows the runs in work; a context manager, because the cursor must come back."""

    def __init__(self, console: Console | None = None) -> None:
        """Draw on stderr, unless a console is given."""
        self.console = console or Console(stderr=True, highlight=False)
        self.progress = Progress()
        self.since: dict[str, float] = {}
        self.live = Live(
            console=self.console, get_renderable=self.render, refresh_per_second=2, transient=True
        )

    def __enter__(self) -> Self:
        """Start drawing."""
        self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove what changes; what stays, stays."""
        self.live.stop()

    def __call__(self, event: WorkEvent) -> None:
        """Take an event into what is shown."""
        self.progress.hear(event)
        if isinstance(event, CellStarted):
            self.since[event.cell.run.key] = time.monotonic()
        style = "red" if isinstance(event, CellEnded) and event.ended == "failed" else ""
        for line in lines_of(event):
            self.console.print(Text(line, style=style), soft_wrap=True)

    def render(self) -> Group:
        """Return the lines that change."""
        plan = self.progress.plan
        head = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=max(plan.total, 1), completed=self.progress.done, width=30)
        head.add_row(bar, self.progress.summary())
        rows = Table.grid(padding=(0, 2))
        for event in list(self.progress.running.values()):
            key = event.cell.run.key
            epoch = left = ""
            if isinstance(event, CellProgress):
                epoch = f"epoch {event.epoch}/{event.total_epochs}"
                left = f"{duration(event.seconds_left)} left"
            spent = duration(time.monotonic() - self.since.get(key, time.monotonic()))
            rows.add_row(f"  {label(event.cell)}", epoch, spent, left)
        return Group(head, rows)
