"""`harness plugin`: what authors of plugins type."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import command, group
from harness.cli.output import columns, json_line
from harness.cli.plugins import plugins

if TYPE_CHECKING:
    from harness.testing.golden import Tally


@group()
def plugin() -> None:
    """List, check, replay and start plugins."""


plugin.add_command(plugins, "list")


@command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object per method and dtype.")
def replay(path: Path, *, as_json: bool) -> int:
    """Replay the golden cases of a file, or of every *.json in a folder.

    Every case runs in float64 and in float32. The exit code is 1 when a number differs.
    """
    from harness.testing.golden import read_cases, tally

    counts = tally(read_cases(path))
    if as_json:
        for count in counts:
            json_line(replay_record(count))
    else:
        print_tally(counts)
    return int(any(count.mismatches for count in counts))


plugin.add_command(replay)


def replay_record(count: Tally) -> dict[str, object]:
    """Return how one method went in one dtype as JSON can hold it."""
    return {
        "method": count.method,
        "dtype": count.dtype,
        "replayed": count.replayed,
        "passed": count.passed,
        "mismatches": [{"place": m.place, "problem": m.problem} for m in count.mismatches],
    }


def print_tally(counts: tuple[Tally, ...]) -> None:
    """Print one line per method and dtype, the sums, and every mismatch."""
    rows: list[tuple[object, ...]] = [(c.method, c.dtype, c.replayed, c.passed) for c in counts]
    for dtype in dict.fromkeys(count.dtype for count in counts):
        same = [count for count in counts if count.dtype == dtype]
        replayed, passed = (sum(c.replayed for c in same), sum(c.passed for c in same))
        rows.append(("total", dtype, replayed, passed))
    columns(("method", "dtype", "replayed", "passed"), rows)
    for count in counts:
        for mismatch in count.mismatches:
            click.echo(f"mismatch in {count.method}, {count.dtype}: {mismatch}")
