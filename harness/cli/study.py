"""`harness study` and `harness worker`: many runs that belong together."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from harness.cli.ensemble import join_after
from harness.cli.listing import read_work
from harness.cli.options import Action, command, group, with_settings
from harness.cli.output import columns, json_line
from harness.cli.searching import STATES, counted, is_done, print_found, print_work, say_untuned
from harness.settings import Settings, cache_folder, check_online

if TYPE_CHECKING:
    from harness.registry import Registry
    from harness.study.options import PoolOptions
    from harness.study.work import Work

EXISTING = ("only-missing", "always", "never", "only-cache")
SETTINGS = (
    *("store", "data", "weights", "device", "workers", "augment_on", "backend", "memory"),
    *("cache", "cache_cap"),
)

POOL_FLAGS: list[Callable[[Any], Any]] = [
    click.option(
        "--jobs",
        type=click.IntRange(1, 1024),
        metavar="N",
        help="Runs at a time, each a process.  [one per GPU, or 1]",
    ),
    click.option("--timeout", metavar="TIME", help="End a run after 90s, 10m, 6h or 2d."),
    click.option("--max-memory", metavar="SIZE", help="End a run that takes more, such as 8GiB."),
    click.option(
        "--threads",
        type=click.IntRange(1, 1024),
        metavar="N",
        help="CPU threads of each run.  [processors divided by jobs]",
    ),
    click.option(
        "--existing",
        type=click.Choice(EXISTING),
        default=EXISTING[0],
        show_default=True,
        help="Which runs to do when some are finished.",
    ),
    click.option("--compile", is_flag=True, help="Let torch compile the backbone; see the docs."),
    click.option("--download", is_flag=True, help="Fetch data or weights that are missing."),
    click.option("--save-embeddings", is_flag=True, help="Keep the test embeddings of each run."),
    click.option("--no-cache", is_flag=True, help="Keep no prepared pixels."),
    click.option("--fail-fast", is_flag=True, help="Start nothing more after a failed run."),
    click.option("--smoke", is_flag=True, help="Rehearse each run; never on a leaderboard."),
    click.option("--dry-run", is_flag=True, help="Show the work list and do nothing."),
    click.option("--json", "as_json", is_flag=True, help="One JSON object per event, on stdout."),
]


class Shard(click.ParamType):
    """Part of a work list, as `i/n` with i from 0."""

    name = "shard"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Read the two numbers."""
        if isinstance(value, tuple):
            return value  # pyright: ignore[reportUnknownVariableType] - click converts twice
        index, slash, count = str(value).partition("/")
        if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            self.fail(f"{value!r} is not like 0/4, 1/4, 2/4 or 3/4", param, ctx)
        return int(index), int(count)


def with_pool(action: Action) -> Action:
    """Add the options that say how a work list is done."""
    for option in reversed(POOL_FLAGS):
        action = option(action)
    return action


@group()
def study() -> None:
    """Plan, do and follow many runs that belong together."""


@study.command("run")
@click.argument("file")
@with_settings(*SETTINGS)
@with_pool
def run_study(file: str, *, settings: Settings, **options: Any) -> int:  # noqa: ANN401 - POOL_FLAGS
    """Do the runs of a study that the store does not hold yet, one process each.

    \b
    harness study run digits_demo --jobs 2
    harness study run studies/digits_demo.yaml --timeout 10m --max-memory 4GiB
    """  # noqa: D301 - click reads \b as "keep these line breaks"
    from harness.registry import discover

    registry = discover(only=settings.load_plugins)
    work = read_work(file, registry, smoke=options["smoke"])
    return do_work(work, registry, settings, options, command=f"harness study run {file}")


@study.command("plan")
@click.argument("file")
@click.option("--smoke", is_flag=True, help="Of a rehearsal.")
@with_settings("store")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per run.")
def plan_study(file: str, *, smoke: bool, settings: Settings, as_json: bool) -> int:
    """List the runs of a study, and what the store knows of each."""
    from harness.registry import discover

    registry = discover(only=settings.load_plugins)
    work = read_work(file, registry, smoke=smoke)
    return print_work(work, registry, settings, as_json=as_json)


@study.command("status")
@click.argument("file")
@click.option("--smoke", is_flag=True, help="Of a rehearsal.")
@with_settings("store")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per protocol and method.")
def study_status(file: str, *, smoke: bool, settings: Settings, as_json: bool) -> int:
    """Count what is finished, failed and missing, by protocol and method."""
    from harness.registry import discover

    registry = discover(only=settings.load_plugins)
    counts = counted(read_work(file, registry, smoke=smoke), registry, settings)
    if as_json:
        for (protocol, method), row in counts.items():
            json_line({"protocol": protocol, "method": method, **row})
    else:
        rows = [(*who, sum(row.values()), *row.values()) for who, row in counts.items()]
        columns(("protocol", "method", "planned", *STATES), rows)
    return 0 if all(is_done(method, row) for (_, method), row in counts.items()) else 1


@command()
@click.argument("file")
@click.option("--shard", type=Shard(), metavar="I/N", help="Every N-th run from I on, from 0.")
@with_settings(*SETTINGS)
@with_pool
def worker(
    file: str,
    *,
    shard: tuple[int, int] | None,
    settings: Settings,
    **options: Any,  # noqa: ANN401 - POOL_FLAGS
) -> int:
    """Do a part of a study, under any scheduler; several workers may share one.

    \b
    harness worker studies/digits_demo.yaml --shard $SLURM_ARRAY_TASK_ID/16
    """  # noqa: D301 - click reads \b as "keep these line breaks"
    from harness.registry import discover

    registry = discover(only=settings.load_plugins)
    work = read_work(file, registry, smoke=options["smoke"])
    if shard is not None:
        work = work.shard(index=shard[0], count=shard[1])
    part = "" if shard is None else f" --shard {shard[0]}/{shard[1]}"
    return do_work(work, registry, settings, options, command=f"harness worker {file}{part}")


def do_work(
    work: Work,
    registry: Registry,
    settings: Settings,
    options: dict[str, Any],
    *,
    command: str,
) -> int:
    """Do the runs, one process each, and say how it ended."""
    if options["dry_run"]:
        return print_work(work, registry, settings, as_json=options["as_json"])
    say_untuned(work)
    if options["download"]:
        check_online(settings, "--download")
    from harness.cli.work import WorkOutcome, work_reporter
    from harness.store.compaction import fold_if_many
    from harness.store.writer import open_store
    from harness.study.pool import run_cells
    from harness.study.work import Searches

    options["save_embeddings"] = options["save_embeddings"] or work.save_embeddings
    chosen = _pool_options(settings, options)
    store = open_store(settings.store)
    fold_if_many(store)
    outcome = WorkOutcome(command, settings.store)
    interactive = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    with work_reporter(as_json=options["as_json"], interactive=interactive) as listener:
        hear = outcome.also_hears(listener)
        tally = run_cells(
            work.cells,
            store=store,
            options=chosen,
            on_event=hear,
            searches=Searches(work.tuned, registry, store) if work.tuned else None,
        )
    fold_if_many(store)  # a large study leaves a store that is quick to ask
    joined_badly = False
    if work.ensembles and not tally.interrupted:
        joined_badly = not join_after(work, registry, settings, as_json=options["as_json"])
    if not tally.interrupted:
        print_found(work, registry, settings, as_json=options["as_json"])
    return outcome.report(work, tally, as_json=options["as_json"]) or int(joined_badly)


def _pool_options(settings: Settings, options: dict[str, Any]) -> PoolOptions:
    from harness.study.machine import parse_bytes, parse_duration
    from harness.study.options import PoolOptions

    timeout, memory = options["timeout"], options["max_memory"]
    return PoolOptions(
        jobs=options["jobs"],
        timeout=None if timeout is None else parse_duration(timeout),
        max_memory=None if memory is None else parse_bytes(memory),
        threads=options["threads"],
        existing=options["existing"],
        fail_fast=options["fail_fast"],
        device=settings.device,
        load_plugins=settings.load_plugins,
        backend=settings.backend,
        cache=None if options["no_cache"] else (cache_folder(settings), settings.cache_cap),
        run={
            "data_root": settings.data.resolve(),
            "weights_folder": settings.weights,
            "workers": -1 if settings.workers is None else settings.workers,
            "scale_on_device": settings.augment_on == "device",
            "memory": settings.memory,
            **{name: options[name] for name in ("download", "save_embeddings", "compile")},
        },
    )
