"""How a plan ended: the numbers, where the rows are, what to type next, and the exit code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, cast

import click

from harness.cli.output import columns, json_line
from harness.execute.events import Event, Listener, RunFailed, RunFinished, Summary

if TYPE_CHECKING:
    from harness.plan import Run
    from harness.store.writer import Store

UNTRAINED = "untrained"
COUNTS = {
    "finished": "finished now",
    "cached": "finished before",
    "failed": "failed",
    "interrupted": "interrupted (the same command goes on where it stopped)",
}


@dataclass(frozen=True, slots=True)
class Scores:
    """Test metrics of one finished run.

    Attributes:
        epoch: The selected one.
        values: Of its encoder.
        untrained: Of the encoder before any training; empty when it was not tested.
    """

    epoch: int
    values: Mapping[str, float]
    untrained: Mapping[str, float]


class Outcome:
    """Remembers what matters at the end while events go by."""

    def __init__(self, store: Store) -> None:
        """Begin with nothing heard."""
        self.store = store
        self.scores: dict[str, Scores] = {}
        self.failed: list[RunFailed] = []

    def also_hears(self, listener: Listener) -> Listener:
        """Return a listener that remembers and passes on."""

        def hear(event: Event) -> None:
            match event:
                case RunFinished():
                    found = Scores(event.selected_epoch, event.values, event.untrained)
                    self.scores[event.run.key] = found
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
        scores = (
            {**stored_scores(self.store, runs), **self.scores} if summary.cached else self.scores
        )
        if scores:
            columns(*results_table(runs, scores))
            click.echo()
        counts = [
            f"{n} {words}" for name, words in COUNTS.items() if (n := getattr(summary, name))
        ]
        rows = summary.paths[0] if len(summary.paths) == 1 else self.store.root
        click.echo(f"runs  {', '.join(counts) or 'none done'}")
        click.echo(f"rows  {rows}")
        click.echo(f"next  {self.next_command(runs)}")
        return code

    def next_command(self, runs: Sequence[Run]) -> str:
        """Return what a person would type now."""
        store = "" if str(self.store.root) == "runs" else f" --store {self.store.root}"
        if self.failed:
            return f"harness log {self.failed[0].run.key}{store}"
        if runs[0].smoke:
            return f"harness log {runs[0].key}{store}"
        flag = " --deviations" if any(run.deviations for run in runs) else ""
        return f"harness leaderboard {runs[0].protocol.name}{flag}{store}"


def stored_scores(store: Store, runs: Iterable[Run]) -> dict[str, Scores]:
    """Read the test metrics of the runs that the store has."""
    from harness.store.database import query

    keys = ", ".join(f"'{run.key}'" for run in runs)  # hexadecimal: nothing to quote
    sql = (
        "SELECT run_key, epoch, selected, name, value FROM metrics "  # noqa: S608
        f"WHERE part = 'test' AND value IS NOT NULL AND run_key IN ({keys})"
    )
    found: dict[str, Scores] = {}
    for row in query(store, sql).rows:
        key, epoch, selected, name, value = cast("tuple[str, int, bool, str, float]", row)
        scores = found.get(key, Scores(0, {}, {}))
        if selected:
            found[key] = replace(scores, epoch=epoch, values={**scores.values, name: value})
        elif epoch == 0:
            found[key] = replace(scores, untrained={**scores.untrained, name: value})
    return found


def results_table(
    runs: Sequence[Run], scores: Mapping[str, Scores]
) -> tuple[list[str], list[list[object]]]:
    """Return header and rows: each run's test metrics, and the untrained encoder's below them."""
    names = [name for name, _ in runs[0].metrics if name in next(iter(scores.values())).values]
    rows: list[list[object]] = []
    for run in runs:
        if run.key not in scores:
            continue
        found, who = scores[run.key], [run.method, run.fold, run.seed]
        rows.append([*who, found.epoch, *(f"{found.values[name]:.4f}" for name in names)])
        if found.untrained:
            before = [f"{found.untrained[name]:.4f}" for name in names]
            rows.append([*who, UNTRAINED, *before])
    return ["method", "fold", "seed", "epoch", *names], rows


def exit_code(runs: Sequence[Run], summary: Summary) -> int:
    """Return the exit code of a plan, as the table in `harness --help` has it."""
    if summary.interrupted:
        return 130
    if summary.finished + summary.cached < len(runs):
        return 1
    return 3 if any(run.deviations for run in runs) else 0
