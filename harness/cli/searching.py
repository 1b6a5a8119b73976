"""Searches on the command line: how far each is, beside the runs that are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from harness.cli.listing import print_cells
from harness.cli.output import columns, json_line
from harness.settings import Settings

if TYPE_CHECKING:
    from harness.registry import Registry
    from harness.search import Trial
    from harness.study.tuning import Step, Tuned
    from harness.study.work import Work

STATES = ("finished", "failed", "interrupted", "missing")
TRIALS = " (trials)"


def say_untuned(work: Work) -> None:
    """Name the methods of a tuned study that nothing can be searched of."""
    if work.untuned:
        click.echo(f"nothing to search, no trials: {', '.join(work.untuned)}", err=True)


def print_work(work: Work, registry: Registry, settings: Settings, *, as_json: bool) -> int:
    """Print how far each search is, then one line for each run that is known by now."""
    steps = _steps(work, registry, settings)
    cells = [cell for _, step in steps for cell in step.cells]
    if as_json:
        for tuned, step in steps:
            json_line(_record(tuned, step))
    elif steps:
        _print_steps(steps)
    code = print_cells([*cells, *work.cells], settings, as_json=as_json)
    if steps:
        known = len(cells) + len(work.cells)
        ended = sum(len(step.trials) * len(tuned.repeats) for tuned, step in steps)
        rest = work.num_cells - known - ended
        if rest:
            click.echo(f"{rest} more runs are planned when these trials have ended", err=True)
    say_untuned(work)
    return code


def print_found(work: Work, registry: Registry, settings: Settings, *, as_json: bool) -> None:
    """Print what each search has found."""
    steps = _steps(work, registry, settings)
    if as_json:
        for tuned, step in steps:
            json_line({"event": "search", **_record(tuned, step)})
    elif steps:
        _print_steps(steps)


def _print_steps(steps: list[tuple[Tuned, Step]]) -> None:
    header = ("search", "method", "protocol", "trials", "final runs", tuned_metric(steps))
    columns((*header, "best values"), [_row(tuned, step) for tuned, step in steps])
    click.echo()


def counted(
    work: Work, registry: Registry, settings: Settings
) -> dict[tuple[str, str], dict[str, int]]:
    """Return how many runs are in which state, by protocol and method; trials by themselves."""
    from harness.study.state import find, states_of

    counts: dict[tuple[str, str], dict[str, int]] = {}
    steps = _steps(work, registry, settings)
    for tuned, step in steps:
        done = sum(trial.objective is not None for trial in step.trials)
        failed = len(step.trials) - done
        states = (done, failed, 0, tuned.trials - done - failed)
        counts[tuned.protocol.name, tuned.method + TRIALS] = dict(zip(STATES, states, strict=True))
        if not step.over:
            row = {**dict.fromkeys(STATES, 0), "missing": tuned.finals}
            counts[tuned.protocol.name, tuned.method] = row
    finals = [cell for _, step in steps if step.over for cell in step.cells]
    cells = [*finals, *work.cells]
    for cell, state in zip(cells, states_of(cells, find(settings.store)), strict=True):
        row = counts.setdefault((cell.protocol.name, cell.method), dict.fromkeys(STATES, 0))
        row[state.known] += 1
    return counts


def is_done(method: str, counts: dict[str, int]) -> bool:
    """Tell whether nothing is left to do; a trial that failed is an answer too."""
    answered = counts["finished"] + (counts["failed"] if method.endswith(TRIALS) else 0)
    return answered == sum(counts.values())


def tuned_metric(steps: list[tuple[Tuned, Step]]) -> str:
    """Return what the searches compare, as the head of a column."""
    return " or ".join(f"val_{name}" for name in dict.fromkeys(t.metric for t, _ in steps))


def _steps(work: Work, registry: Registry, settings: Settings) -> list[tuple[Tuned, Step]]:
    from harness.study.state import find
    from harness.study.tuning import next_step

    store = find(settings.store)
    return [(each, next_step(each, registry, store, may_ask=False)) for each in work.tuned]


def _row(tuned: Tuned, step: Step) -> tuple[object, ...]:
    best = step.best
    return (
        tuned.search,
        tuned.method,
        tuned.protocol.name,
        f"{len(step.trials)}/{tuned.trials}",
        tuned.finals,
        "" if best is None or best.objective is None else f"{best.objective:.4f}",
        "" if best is None else _values(best),
    )


def _values(best: Trial) -> str:
    found = ", ".join(f"{path}={best.values[path]}" for path in best.values)
    return found or "as given"


def _record(tuned: Tuned, step: Step) -> dict[str, object]:
    return {
        "search": tuned.search,
        "method": tuned.method,
        "protocol": tuned.protocol.name,
        "sampler": tuned.rule.sampler,
        "metric": tuned.metric,
        "trials": tuned.trials,
        "ended": len(step.trials),
        "failed": sum(trial.objective is None for trial in step.trials),
        "final_runs": tuned.finals,
        "best_trial": None if step.best is None else step.best.number,
        "best_objective": None if step.best is None else step.best.objective,
        "best_values": None if step.best is None else dict(step.best.values),
        "space": {path: d.model_dump(mode="json") for path, d in tuned.space.items()},
    }
