"""What a person sees while bytes come in or are checked: one line on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import click

SECONDS_BETWEEN = {True: 0.1, False: 10.0}  # a line that is redrawn on a terminal, lines elsewhere

Progress = Callable[[str, int, int | None], None]
Amount = Callable[[int], str]


@contextmanager
def progress_line(amount: Amount) -> Generator[Progress]:
    """Provide what is told (title, done, total), and end the line at the end.

    Args:
        amount: Words a number of whatever is counted.
    """
    line = _Line(amount, redraw=sys.stderr.isatty())
    try:
        yield line
    finally:
        line.end()


class _Line:
    """Draws at most ten times a second on a terminal, every ten seconds elsewhere."""

    def __init__(self, amount: Amount, *, redraw: bool) -> None:
        self.amount = amount
        self.redraw = redraw
        self.title = ""
        self.began = self.drawn = 0.0
        self.start = 0
        self.ended = False  # whether its last line was that all is done
        self.open = False

    def __call__(self, title: str, done: int, total: int | None) -> None:
        """Draw how far it is, if it is time to or all is done."""
        now = time.monotonic()
        if title != self.title:
            self.end()
            self.title, self.began, self.start, self.drawn = title, now, done, 0.0
            self.ended = False
        ends = done == total
        if self.ended if ends else now - self.drawn < SECONDS_BETWEEN[self.redraw]:
            return
        self.drawn, self.ended = now, ends
        speed = (done - self.start) / max(now - self.began, 1e-3)
        left = f", {(total - done) / speed:,.0f} s left" if total and speed > 0 else ""
        of = f" of {self.amount(total)}" if total is not None else ""
        text = f"{title}: {self.amount(done)}{of}{'' if ends else left}"
        if self.redraw:
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)
            self.open = True
        else:
            click.echo(text, err=True)

    def end(self) -> None:
        """Leave the line that was drawn."""
        if self.open:
            click.echo(err=True)
        self.open = False
