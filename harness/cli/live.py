"""The live display on a terminal: a few lines that change, and one line per run that stays."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.cli.durations import duration
from harness.cli.progress import (
    circumstances,
    download_text,
    headline,
    label,
    lines_of,
    score_text,
    speed,
    time_left,
    values_text,
)
from harness.execute.events import (
    Downloading,
    EpochDone,
    Evaluated,
    Event,
    PlanStarted,
    RunFailed,
    RunFinished,
    RunSkipped,
    RunStarted,
)

INDENT = "  "
METRICS_SHOWN = 3  # in the line that stays; the table at the end has them all


class LiveDisplay:
    """Shows the run that goes on; a context manager, because the cursor must come back."""

    def __init__(self, store: Path, console: Console | None = None) -> None:
        """Draw on stderr, unless a console is given."""
        self.store = store
        self.console = console or Console(stderr=True, highlight=False)
        self.started: RunStarted | None = None
        self.download: Downloading | None = None
        self.began = 0.0
        self.epoch: EpochDone | None = None
        self.scores: dict[str, Evaluated] = {}
        self.live = Live(
            console=self.console, get_renderable=self.render, refresh_per_second=4, transient=True
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

    def __call__(self, event: Event) -> None:
        """Take an event into what is shown."""
        match event:
            case RunStarted():
                self.started, self.epoch, self.scores = event, None, {}
                self.download = None
                self.began = time.monotonic()
                self._keep(headline(event.run, self.store))
            case Downloading():
                self.download = event
            case EpochDone():
                self.epoch = event
            case Evaluated():
                self.scores[event.part] = event
            case RunFinished():
                headline_values = dict(islice(event.values.items(), METRICS_SHOWN))
                done = f"{values_text(headline_values)}  {duration(event.seconds)}"
                self._end(f"✓ {label(event.run)}  {done}", style="green")
            case RunFailed():
                self._end(f"✗ {lines_of(event, self.store)[0]}", style="red")
            case PlanStarted() | RunSkipped():
                self._keep(*lines_of(event, self.store))

    def render(self) -> Group:
        """Return the lines that change; they are drawn several times a second."""
        if self.started is None:
            return Group() if self.download is None else Group(_download_bar(self.download))
        lines = [Text(INDENT + circumstances(self.started), style="dim"), self._bar()]
        if self.epoch is not None:
            record = self.epoch.record
            lines.append(Text(f"{INDENT}{values_text(record.losses)}  {speed(record)}"))
        lines += [Text(INDENT + score_text(score)) for score in self.scores.values()]
        return Group(*lines)

    def _bar(self) -> Table:
        assert self.started is not None, "a bar needs a run"
        total = self.started.run.protocol.training.epochs
        done = self.epoch.record.epoch if self.epoch else (self.started.resumed_epoch or 0)
        left = time_left(self.epoch) if self.epoch else ""
        elapsed = f"{duration(time.monotonic() - self.began)}{left}"
        grid = Table.grid(padding=(0, 1))
        grid.add_row(
            f"{INDENT}epoch {done}/{total}",
            ProgressBar(total=max(total, 1), completed=done, width=30),
            elapsed,
        )
        return grid

    def _end(self, line: str, *, style: str) -> None:
        self.started = None
        self._keep(line, style=style)

    def _keep(self, *lines: str, style: str = "") -> None:
        for line in lines:
            self.console.print(Text(line, style=style), soft_wrap=True)


def _download_bar(event: Downloading) -> Table:
    grid = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=event.total, completed=event.received, width=30)
    grid.add_row(INDENT + download_text(event), bar)
    return grid
