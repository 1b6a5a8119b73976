"""`harness run` and `harness plan`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import command, with_request, with_settings
from harness.cli.output import columns, json_line
from harness.settings import Settings, cache_folder, check_online

if TYPE_CHECKING:
    from harness.contracts import Backend
    from harness.plan import Request, Run
    from harness.registry import Registry

EXISTING = ("only-missing", "always", "never", "only-cache")
MOST_WORKERS = 8


@command()
@click.argument("protocol")
@with_request
@with_settings(
    *("store", "data", "weights", "device", "workers", "backend", "memory", "cache", "cache_cap")
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
    runs = _make_plan(protocol, request, registry)
    card = registry.get("backend", settings.backend).card
    if dry_run:
        return _print_plan(runs, settings, as_json=as_json)
    backend: Backend = card.build(card.params(), None)
    return _execute(runs, settings, {**options, "backend": backend}, as_json=as_json)


@command()
@click.argument("protocol")
@with_request
@with_settings("store")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per run.")
def plan(protocol: str, *, request: Request, settings: Settings, as_json: bool) -> int:
    """List the runs a command would do, and do none."""
    from harness.registry import discover

    runs = _make_plan(protocol, request, discover(only=settings.load_plugins))
    return _print_plan(runs, settings, as_json=as_json)


def _make_plan(protocol: str, request: Request, registry: Registry) -> tuple[Run, ...]:
    from harness.plan import make_plan
    from harness.protocol import load

    return make_plan(load(protocol), registry, request)


def _print_plan(runs: Sequence[Run], settings: Settings, *, as_json: bool) -> int:
    """Print one line per run: what it is, and whether the store has it."""
    finished = _finished_keys(settings)
    rows = [
        (run.key, run.method, run.fold, run.seed, "finished" if run.key in finished else "to do")
        for run in runs
    ]
    header = ("run", "method", "fold", "seed", "state")
    if as_json:
        for run, row in zip(runs, rows, strict=True):
            digest = {"protocol": run.protocol.name, "protocol_digest": run.protocol_digest}
            json_line({**digest, **dict(zip(header, row, strict=True))})
        return 0
    columns(header, rows)
    to_do = sum(row[-1] == "to do" for row in rows)
    click.echo(f"{len(rows)} runs, {to_do} to do; store {settings.store}", err=True)
    return 0


def _finished_keys(settings: Settings) -> frozenset[str]:
    """Return the keys the store holds; a store that does not exist yet holds none."""
    from harness.store.writer import MARKER, find_store, finished_keys

    if not (settings.store / MARKER).is_file():
        return frozenset()
    return finished_keys(find_store(settings.store))


def _execute(
    runs: Sequence[Run], settings: Settings, options: dict[str, Any], *, as_json: bool
) -> int:
    """Do the runs, then say how it ended."""
    from harness.store.writer import open_store

    if options["download"]:
        check_online(settings, "--download")
    store = open_store(settings.store)  # before torch: a full disk is known within a second

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
