"""What goes to stdout: JSON lines for programs, aligned text for people."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence

import click

SCHEMA_VERSION = 1


def json_line(record: Mapping[str, object]) -> None:
    """Print one JSON object on one line, with the version of its shape."""
    click.echo(json.dumps({"schema_version": SCHEMA_VERSION, **record}, default=str))


def terminal_width() -> int | None:
    """Return the columns of the terminal that shows stdout; None where it goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def columns(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows as text columns of equal width below a header, as the tables of results look.

    Those are rendered by `harness.report`, which is too heavy for commands that list plugins.
    """
    body = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    for row in [header, ["─" * width for width in widths], *body]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def facts(pairs: Iterable[tuple[str, object]], *, indent: int = 0) -> None:
    """Print `name   value` lines, names padded to one width; empty values are left out."""
    shown = [(name, str(value)) for name, value in pairs if value not in (None, "", ())]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{' ' * indent}{name.ljust(width)}  {value}")
