"""How a plan ended: the numbers, where the rows are, what to type next, and the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from harness.cli.output import columns, json_line
from harness.execute.events import Event, Listener, RunFailed, RunFinished, Summary

if TYPE_CHECKING:
    from harness.plan import Run
    from harness.store.writer import Store


class Outcome:
    """Remembers what matters at the end while events go by."""

    def __init__(self, store: Store) -> None:
        """Begin with nothing heard."""
        self.store = store
        self.finished: list[RunFinished] = []
        self.failed: list[RunFailed] = []

    def also_hears(self, listener: Listener) -> Listener:
        """Return a listener that remembers and passes on."""

        def hear(event: Event) -> None:
            match event:
                case RunFinished():
                    self.finished.append(event)
                case RunFailed():
                    self.failed.append(event)
                case _:
                    pass
            listener(event)

        return hear

    def report(self, runs: Sequence[Run], summary: Summary, *, as_json: bool) -> int:
        """Print the end of a command and return its exit code."""
        code = exit_code(runs, summary)
        if as_json:
            json_line({"event": "summary", **asdict(summary), "exit_code": code})
            return code
        if self.finished:
            columns(*results_table(self.finished))
            click.echo()
        counts = ", ".join(
            f"{getattr(summary, name)} {words}"
            for name, words in COUNTS.items()
            if getattr(summary, name)
        )
        click.echo(f"runs  {counts or 'none done'}")
        for path in summary.paths if len(summary.paths) == 1 else ():
            click.echo(f"rows  {path}")
        if len(summary.paths) != 1:
            click.echo(f"rows  {self.store.root}")
        click.echo(f"next  {self.next_command(runs)}")
        return code

    def next_command(self, runs: Sequence[Run]) -> str:
        """Return what a person would type now."""
        store = "" if str(self.store.root) == "runs" else f" --store {self.store.root}"
        if self.failed:
            return f"harness log {self.failed[0].run.key}{store}"
        flags = " --smoke" * runs[0].smoke + " --deviations" * any(r.deviations for r in runs)
        return f"harness leaderboard {runs[0].protocol.name}{flags}{store}"


COUNTS = {
    "finished": "finished now",
    "cached": "finished before",
    "failed": "failed",
    "interrupted": "interrupted (type the same command to go on)",
}


def results_table(finished: Sequence[RunFinished]) -> tuple[list[str], list[list[object]]]:
    """Return header and rows: each run's test metrics, and the untrained encoder's below them."""
    names = list(finished[0].values)
    rows: list[list[object]] = []
    for event in finished:
        run = [event.run.method, event.run.fold, event.run.seed]
        rows.append([*run, event.selected_epoch, *(f"{event.values[n]:.4f}" for n in names)])
        if event.untrained:
            rows.append([*run, "untrained", *(f"{event.untrained[n]:.4f}" for n in names)])
    return ["method", "fold", "seed", "epoch", *names], rows


def exit_code(runs: Sequence[Run], summary: Summary) -> int:
    """Return the exit code of a plan, as the table in `harness --help` has it."""
    if summary.interrupted:
        return 130
    if summary.finished + summary.cached < len(runs):
        return 1
    return 3 if any(run.deviations for run in runs) else 0
