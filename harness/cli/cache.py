"""`harness data cache`: prepared pixels on disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from harness.cli.errors import warn
from harness.cli.options import command, group, with_method, with_settings
from harness.cli.output import columns, json_line
from harness.cli.transfers import progress_line
from harness.errors import HarnessError
from harness.settings import Settings, cache_folder

if TYPE_CHECKING:
    from harness.data.precomputing import CacheJob
    from harness.plan import Request

NO_ROOM = "the others are prepared each time they are used; --cache-cap gives more room"


@group()
def cache() -> None:
    """Show, fill and clear the caches of prepared pixels.

    Images are decoded and resized once, then read by all workers and runs. Runs fill the caches
    by themselves; a cache that has no room left keeps what it has.
    """


@command("status")
@with_settings("data", "cache", "cache_cap")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per cache.")
def status(*, settings: Settings, as_json: bool) -> None:
    """List the caches, how many images they hold, and their sizes.

    A stale one was made by another Pillow or decoder, so no run reads it any more.
    """
    from harness.data.caches import cache_statuses

    folder = cache_folder(settings)
    header = ("cache", "dataset", "steps", "kept", "rows", "stale", "bytes")
    rows = [tuple(getattr(one, name) for name in ("name", *header[1:])) for one in
            cache_statuses(folder)]  # fmt: skip
    if as_json:
        for row in rows:
            json_line(dict(zip(header, row, strict=True)))
        return
    if not rows:
        click.echo(f"no prepared pixels in {folder}", err=True)
        return
    shown = [(*row[:-2], "stale" if row[-2] else "", size_of(row[-1])) for row in rows]
    columns((*header[:-2], "state", "size"), shown)
    total = sum(row[-1] for row in rows)
    click.echo(f"{size_of(total)} of {size_of(settings.cache_cap)} in {folder}", err=True)


@command("clear")
@click.argument("dataset", required=False)
@click.option("--stale", is_flag=True, help="Only those that no run reads any more.")
@with_settings("data", "cache")
def clear(dataset: str | None, *, settings: Settings, stale: bool) -> None:
    """Delete the caches of a data set, or all; runs that use them go on."""
    from harness.data.caches import clear_caches

    gone = clear_caches(cache_folder(settings), dataset=dataset, only_stale=stale)
    if dataset and not gone and not stale:
        raise HarnessError(
            f"no cache of data set {dataset!r}", hint="harness data cache status lists them"
        )
    size = size_of(sum(one.bytes for one in gone))
    click.echo(f"{len(gone)} caches deleted, {size} freed")


@command("build")
@click.argument("protocol")
@with_method
@with_settings("data", "workers", "cache", "cache_cap")
@click.option("--dry-run", is_flag=True, help="Say how much it would be, and do nothing.")
def build(protocol: str, *, request: Request, settings: Settings, dry_run: bool) -> None:
    """Prepare all images that the runs of a protocol read, in all its folds.

    Give what changes the images of a run (--deviate transforms.…, --set dataset.…) here as well;
    no loss need be named. Interrupt it at any time: what is done is kept, and the next call goes
    on.
    """
    from harness.contracts import DataContext
    from harness.plan import make_feed
    from harness.protocol import load
    from harness.registry import discover

    feed = make_feed(load(protocol), discover(only=settings.load_plugins), request)

    from harness.data.cache import CachePlace
    from harness.data.precomputing import room_for
    from harness.execute.caching import run_jobs

    place = CachePlace(cache_folder(settings), settings.cache_cap)
    jobs = run_jobs(feed, context=DataContext(settings.data), place=place)
    if not jobs:
        name = feed.dataset.card.name
        click.echo(f"data set {name!r} is in memory as a whole: nothing to cache")
        return
    for job in jobs:
        click.echo(
            f"{job.steps}: {len(job.rows):,} images to prepare, about {size_of(job.bytes)}; "
            f"{job.kept:,} kept already"
        )
    if (size := sum(job.bytes for job in jobs)) > (room := room_for(place)):
        warn(f"{size_of(size)} to keep, room for {size_of(room)}: {NO_ROOM}")
    if not dry_run:
        _fill(jobs, workers=settings.workers)
        click.echo(f"cache in {place.folder}")


def _fill(jobs: Sequence[CacheJob], *, workers: int | None) -> None:
    from harness.execute.caching import fill

    processes = (os.cpu_count() or 1) if workers is None else workers
    with progress_line(lambda count: f"{count:,} images") as tell:
        for job in jobs:
            done = 0
            for done in fill(job, workers=processes):
                tell(job.steps, done, len(job.rows))
            if done < len(job.rows):
                warn(f"{len(job.rows) - done:,} images of {job.steps} are not kept: {NO_ROOM}")


for one in (status, clear, build):
    cache.add_command(one)


def size_of(num_bytes: int) -> str:
    """Return a number of bytes as people read it."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes / 1024:.1f} KiB"
