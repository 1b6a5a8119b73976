"""`harness run` and `harness plan`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.listing import cells_from, print_cells, write_study
from harness.cli.options import command, with_request, with_settings
from harness.settings import Settings, cache_folder, check_online

if TYPE_CHECKING:
    from harness.contracts import Backend
    from harness.plan import Request, Run

EXISTING = ("only-missing", "always", "never", "only-cache")
MOST_WORKERS = 8


@command()
@click.argument("protocol")
@with_request
@with_settings(
    *("store", "data", "weights", "device", "workers", "augment_on", "backend", "memory"),
    *("cache", "cache_cap"),
)
@click.option(
    "--existing",
    type=click.Choice(EXISTING),
    default=EXISTING[0],
    show_default=True,
    help="Which runs to do when some are finished.",
)
@click.option("--threads", type=click.IntRange(1, 1024), metavar="N", help="CPU threads of torch.")
@click.option("--compile", is_flag=True, help="Let torch compile the backbone; see the docs.")
@click.option("--download", is_flag=True, help="Fetch data or weights that are missing.")
@click.option("--save-embeddings", is_flag=True, help="Keep the test embeddings of each run.")
@click.option("--no-cache", is_flag=True, help="Keep no prepared pixels.")
@click.option("--fail-fast", is_flag=True, help="Stop after the first failed run.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Runs at a time, each a process.  [in this process, unless there are several methods]",
)
@click.option("--timeout", metavar="TIME", help="End a run after 90s, 10m, 6h or 2d.")
@click.option("--max-memory", metavar="SIZE", help="End a run that takes more, such as 8GiB.")
@click.option("--dry-run", is_flag=True, help="Show the plan and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per event, on stdout.")
def run(
    protocol: str,
    *,
    request: Request,
    settings: Settings,
    dry_run: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - those of ExecutionOptions, by its names
) -> int:
    """Train and test a method under a protocol.

    \b
    harness run protocols/digits.yaml --plugin hist
    harness run protocols/omniglot.yaml --plugin pml:margin --plugin pml:distance_weighted
    harness run protocols/mlrc_cub.yaml --plugin hist --set loss.tau=24 --seeds 0-9
    """  # noqa: D301 - click reads \b as "keep these line breaks"
    from harness.registry import discover

    registry = discover(only=settings.load_plugins)
    cells = cells_from(protocol, request, registry)
    card = registry.get("backend", settings.backend).card
    if dry_run:
        return print_cells(cells, settings, as_json=as_json)
    limits = {name: options.pop(name) for name in ("jobs", "timeout", "max_memory")}
    if any(limits.values()) or len({cell.method for cell in cells}) > 1:
        work = {**options, **limits, "dry_run": False, "as_json": as_json}
        from harness.cli.study import do_work
        from harness.study.work import Work

        return do_work(Work(cells), registry, settings, work, command="the same command")
    backend: Backend = card.build(card.params(), None)
    runs = tuple(cell.run for cell in cells)
    return _execute(runs, settings, {**options, "backend": backend}, as_json=as_json)


@command()
@click.argument("protocol")
@with_request
@with_settings("store")
@click.option("--write", metavar="FILE", help="Write a study file of these runs.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per run.")
def plan(
    protocol: str, *, request: Request, settings: Settings, write: str | None, as_json: bool
) -> int:
    """List the runs a command would do, and do none.

    \b
    harness plan digits --plugin hist --plugin contrastive --seeds 0-9
    harness plan digits --plugin hist --plugin contrastive --write studies/mine.yaml
    """  # noqa: D301 - click reads \b as "keep these line breaks"
    from harness.registry import discover

    registry = discover(only=settings.load_plugins)
    cells = cells_from(protocol, request, registry)
    if write is not None:
        write_study(Path(write), protocol, request, registry)
    return print_cells(cells, settings, as_json=as_json)


def _execute(
    runs: Sequence[Run], settings: Settings, options: dict[str, Any], *, as_json: bool
) -> int:
    """Do the runs, then say how it ended."""
    from harness.store.compaction import fold_if_many
    from harness.store.writer import open_store

    if options["download"]:
        check_online(settings, "--download")
    store = open_store(settings.store)  # before torch: a full disk is known within a second
    fold_if_many(store)

    from harness.cli.outcome import Outcome
    from harness.cli.progress import reporter
    from harness.data.cache import CachePlace
    from harness.execute import ExecutionOptions, run_all

    device = settings.device
    place = CachePlace(cache_folder(settings), settings.cache_cap)
    chosen = ExecutionOptions(
        data_root=settings.data,
        weights_folder=settings.weights,
        device=device,
        workers=_default_workers(device) if settings.workers is None else settings.workers,
        scale_on_device=settings.augment_on == "device",
        memory=settings.memory,
        cache=None if options.pop("no_cache") else place,
        **options,
    )
    outcome = Outcome(store)
    interactive = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    with reporter(settings.store, as_json=as_json, interactive=interactive) as listener:
        summary = run_all(runs, store=store, options=chosen, on_event=outcome.also_hears(listener))
    return outcome.report(runs, summary, as_json=as_json)


def _default_workers(device: str) -> int:
    """Return 0 on a CPU, where training needs the cores; up to eight processes feed a GPU."""
    from harness.execute.assembly import resolve_device

    if resolve_device(device).type == "cpu":
        return 0
    return min(MOST_WORKERS, max(1, (os.cpu_count() or 1) - 1))
