"""What a person or a program sees while runs go on; every reporter is a listener for events.

People read stderr: a live display on a terminal, plain lines elsewhere. Programs read stdout: one
JSON object per event. Nothing here can change a run.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.durations import duration
from harness.cli.output import json_line
from harness.execute.events import (
    Downloading,
    EpochDone,
    Evaluated,
    Event,
    Listener,
    PlanStarted,
    RunFailed,
    RunFinished,
    RunSkipped,
    RunStarted,
)

if TYPE_CHECKING:
    from harness.plan import Run
    from harness.training.loop import EpochRecord

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def reporter(store: Path, *, as_json: bool, interactive: bool) -> Generator[Listener]:
    """Provide the listener that fits where the output goes."""
    if as_json:
        yield print_json
    elif interactive:
        from harness.cli.live import LiveDisplay

        with LiveDisplay(store) as display:
            yield display
    else:
        yield PlainLines(store)


class PlainLines:
    """Writes a line per fact, and at most one per ten seconds about epochs and downloads."""

    def __init__(self, store: Path) -> None:
        """Name the store that the first line of each run shows."""
        self.store = store
        self.last_line = 0.0

    def __call__(self, event: Event) -> None:
        """Write what an event says, if it is time to."""
        if isinstance(event, EpochDone | Downloading):
            now = time.monotonic()
            ended = _is_last(event)
            if now - self.last_line < SECONDS_BETWEEN_LINES and not ended:
                return
            self.last_line = now
        for line in lines_of(event, self.store):
            click.echo(line, err=True)


def _is_last(event: EpochDone | Downloading) -> bool:
    if isinstance(event, Downloading):
        return event.received == event.total
    return event.record.epoch == event.total_epochs


def lines_of(event: Event, store: Path) -> list[str]:  # noqa: C901, PLR0911 - a table of events
    """Return an event as lines of text."""
    match event:
        case PlanStarted(total=total, cached=cached):
            return [f"{total} {'run' if total == 1 else 'runs'}, {cached} finished before"]
        case Downloading():
            return [download_text(event)]
        case RunStarted():
            return [headline(event.run, store), f"  {circumstances(event)}"]
        case Evaluated():
            return [f"  {score_text(event)}"]
        case EpochDone():
            return [f"  {epoch_text(event)}"]
        case RunFinished():
            return [f"  finished in {duration(event.seconds)}"]
        case RunSkipped():
            return [f"{label(event.run)}: skipped, {event.reason}"]
        case RunFailed():
            return [f"{label(event.run)}: failed, {event.error_type}: {event.message}"]


def print_json(event: Event) -> None:
    """Write an event as one JSON object on stdout."""
    json_line(event_record(event))


def event_record(event: Event) -> dict[str, object]:
    """Return an event as JSON can hold it; a run is named by its key, method, fold and seed."""
    run: Run | None = getattr(event, "run", None)
    record: dict[str, object] = {"event": EVENT_NAMES[type(event)]}
    if run is not None:
        record |= {"run": run.key, "method": run.method, "fold": run.fold, "seed": run.seed}
    for name in event.__slots__:
        value = getattr(event, name)
        match name:
            case "run":
                continue
            case "record":
                losses = dict(event.record.losses) if isinstance(event, EpochDone) else {}
                record |= {"epoch": value.epoch, "losses": losses, "images": value.images}
            case _:
                record[name] = dict(value) if isinstance(value, Mapping) else value
    return record


EVENT_NAMES: Mapping[type, str] = {
    PlanStarted: "plan_started",
    Downloading: "downloading",
    RunStarted: "run_started",
    Evaluated: "evaluated",
    EpochDone: "epoch_done",
    RunFinished: "run_finished",
    RunSkipped: "run_skipped",
    RunFailed: "run_failed",
}


# --- the words --------------------------------------------------------------------------------


def headline(run: Run, store: Path) -> str:
    """Return protocol, method, its plugins' versions, repeat, key and store, on one line."""
    origins = {chosen.origin for chosen in (run.loss, run.miner) if chosen is not None}
    plugins = sorted({f"{origin.distribution}=={origin.version}" for origin in origins})
    words = [
        f"{run.protocol.name} v{run.protocol.version} ({run.protocol_digest[:8]})",
        label(run),
        " ".join(plugins),
        f"run {run.key}",
        f"store {store}",
    ]
    if run.smoke:
        words.append("smoke: never on a leaderboard")
    if run.deviations:
        words.append(f"deviates: {', '.join(run.deviations)}")
    return "  ".join(words)


def label(run: Run) -> str:
    """Return what tells a run from the others of its plan."""
    return f"{run.method}  fold {run.fold}  seed {run.seed}"


def download_text(event: Downloading) -> str:
    """Return what is fetched, and how far it is."""
    received = f"{event.received / 2**20:.1f}"
    total = "" if event.total is None else f" of {event.total / 2**20:.1f}"
    return f"downloading {event.name}: {received}{total} MiB"


def circumstances(event: RunStarted) -> str:
    """Return the sizes and the device of a run that starts."""
    resumed = f", going on after epoch {event.resumed_epoch}" if event.resumed_epoch else ""
    return (
        f"run {event.index} of {event.total}: {event.num_train_images:,} training images of "
        f"{event.num_train_classes:,} classes, {event.num_queries:,} queries, "
        f"on {event.device}{resumed}"
    )


def epoch_text(event: EpochDone) -> str:
    """Return epoch, loss terms, speed and time left."""
    record = event.record
    terms = f"{values_text(record.losses)}  {speed(record)}"
    return f"epoch {record.epoch}/{event.total_epochs}  {terms}{time_left(event)}"


def speed(record: EpochRecord) -> str:
    """Return the throughput of an epoch."""
    return f"{record.images / max(record.seconds, 1e-9):,.0f} images/s"


def time_left(event: EpochDone) -> str:
    """Return how long the rest of the budget takes; empty when none is left."""
    return f"  about {duration(event.seconds_left)} left" if event.seconds_left > 0 else ""


def score_text(event: Evaluated) -> str:
    """Return part, epoch and metrics of an evaluation."""
    when = f"epoch {event.epoch}" if event.epoch else "untrained"
    return f"{event.part}, {when}: {values_text(event.values)}"


def values_text(values: Mapping[str, float | None]) -> str:
    """Return `name value` pairs, values to four significant places."""
    shown = ((name, "-" if value is None else f"{value:.4f}") for name, value in values.items())
    return "  ".join(f"{name} {value}" for name, value in shown)
