"""`harness store`: look after the folder of results."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import command, group, with_settings
from harness.cli.output import facts, json_line
from harness.errors import HarnessError
from harness.settings import Settings

_SHOWN = 20  # names of files in a listing
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object.")


@group()
def store() -> None:
    """Look after the folder of results.

    \b
    harness store status
    harness store compact
    """  # noqa: D301 - click reads \b as "keep these line breaks"


@command()
@json_option
@with_settings("store")
def status(*, as_json: bool, settings: Settings) -> None:
    """Count attempts, files and leftovers; quick."""
    from harness.store.maintenance import health
    from harness.store.writer import find_store

    found = dict(health(find_store(settings.store)).facts())
    json_line(found) if as_json else facts(found.items())


@command()
@with_settings("store")
def path(*, settings: Settings) -> None:
    """Print the folder."""
    click.echo(settings.store.absolute())


@command()
@json_option
@with_settings("store")
def compact(*, as_json: bool, settings: Settings) -> None:
    """Merge small files into one per table.

    Runs may go on meanwhile, and so may readers.
    """
    from harness.store.compaction import compact
    from harness.store.writer import find_store

    done = compact(find_store(settings.store))
    record = {
        "attempts merged": done.attempts,
        "of them now": done.added,
        "files deleted": done.deleted,
        "files left out": len(done.left_out),
    }
    json_line(record) if as_json else facts(record.items())
    if done.left_out:
        click.echo("some files are damaged or of a newer version: harness store verify", err=True)


@command()
@json_option
@with_settings("store")
def verify(*, as_json: bool, settings: Settings) -> int:
    """Read every file and compare it with its digest; exit code 1 if one differs."""
    from harness.store.maintenance import verify
    from harness.store.writer import find_store

    found = verify(find_store(settings.store))
    if as_json:
        json_line({"attempts": found.num_attempts, "damaged": [str(p) for p in found.damaged]})
        return 1 if found.damaged else 0
    for path in found.damaged:
        click.echo(f"damaged  {path}")
    click.echo(f"{found.num_attempts} attempts, {len(found.damaged)} damaged files")
    return 1 if found.damaged else 0


@command()
@click.option(
    "--older-than",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    metavar="HOURS",
    help="Younger leftovers may belong to a run at work.",
)
@with_settings("store")
def gc(*, older_than: float, settings: Settings) -> None:
    """Delete what killed processes left behind."""
    from harness.store.maintenance import HOUR, collect_garbage
    from harness.store.writer import find_store

    deleted = collect_garbage(find_store(settings.store), older_than=older_than * HOUR)
    for path in deleted[:_SHOWN]:
        click.echo(f"deleted  {path}")
    click.echo(f"{len(deleted)} files deleted")


@command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--where", metavar="SQL", help="Only the runs for which this is true.")
@click.option("--neighbors", is_flag=True, help="Keep the nearest neighbours of each query.")
@with_settings("store")
def export(folder: Path, *, where: str | None, neighbors: bool, settings: Settings) -> None:
    """Copy runs that count into a small store of its own.

    \b
    harness store export paper/runs --where "protocol = 'omniglot' AND NOT smoke"
    """  # noqa: D301 - click reads \b as "keep these line breaks"
    from harness.store.export import export
    from harness.store.writer import find_store

    if folder.exists() and any(folder.iterdir()):
        raise HarnessError(f"{folder} is not empty", hint="name a folder that does not exist")
    rows = export(find_store(settings.store), folder, where=where, neighbors=neighbors)
    facts((f"{table} rows", count) for table, count in rows.items())


for subcommand in (status, path, compact, verify, gc, export):
    store.add_command(subcommand)
