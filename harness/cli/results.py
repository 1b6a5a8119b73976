"""`harness leaderboard`, `runs`, `log` and `query`: they read the store and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from harness.cli.options import command, with_settings
from harness.cli.output import facts, json_line, terminal_width
from harness.errors import HarnessError
from harness.settings import Settings

if TYPE_CHECKING:
    from harness.report.cells import Planned
    from harness.report.runs import RunLog

FORMATS = ("table", "csv", "json", "md", "latex")
STATUSES = ("ok", "failed", "interrupted")
format_option = click.option(
    "--format",
    "style",
    type=click.Choice(FORMATS),
    default=FORMATS[0],
    show_default=True,
    help="How the answer is written.",
)


@command()
@click.argument("protocol", required=False)
@click.option("--metric", metavar="NAME", help="Rank by this metric  [the protocol's first]")
@click.option("--deviations", is_flag=True, help="Show runs that break the protocol.")
@click.option("--smoke", is_flag=True, help="Show rehearsals.")
@click.option("--study", metavar="FILE", help="Only what a study asks for; the rest is missing.")
@click.option("--all", "every", is_flag=True, help="Show older digests of the protocol as well.")
@format_option
@with_settings("store", "sample")
def leaderboard(  # noqa: PLR0913 - its options
    protocol: str | None,
    *,
    metric: str | None,
    deviations: bool,
    smoke: bool,
    study: str | None,
    every: bool,
    style: str,
    settings: Settings,
) -> None:
    """Rank the methods of a protocol.

    PROTOCOL is a name or the beginning of a digest; without it, every protocol has its table.
    """
    from harness.report.boards import render_leaderboard
    from harness.report.leaderboard import leaderboard
    from harness.store.writer import find_store

    ranked = leaderboard(
        find_store(settings.store),
        protocol=protocol,
        metric=metric,
        include_deviations=deviations,
        include_smoke=smoke,
        planned=_planned(study, settings, smoke=smoke),
    )
    every = every or protocol is None
    click.echo(render_leaderboard(ranked, style, every=every, width=terminal_width()))


def _planned(study: str | None, settings: Settings, *, smoke: bool) -> Planned | None:
    if study is None:
        return None
    from harness.cli.listing import read_work
    from harness.registry import discover

    return read_work(study, discover(only=settings.load_plugins), smoke=smoke).planned()


@command()
@click.option("--protocol", metavar="NAME", help="Only of this protocol.")
@click.option("--status", type=click.Choice(STATUSES), help="Only those that ended like this.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the newest N.")
@format_option
@with_settings("store", "sample")
def runs(
    *, protocol: str | None, status: str | None, limit: int | None, style: str, settings: Settings
) -> None:
    """List attempted runs, newest first."""
    from harness.report.runs import list_runs
    from harness.report.tables import render
    from harness.store.writer import find_store

    store = find_store(settings.store)
    click.echo(render(list_runs(store, protocol=protocol, status=status, limit=limit), style))


@command()
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@with_settings("store", "sample")
def log(run: str, *, as_json: bool, settings: Settings) -> None:
    """Show the facts and the curve of one run.

    RUN is the beginning of a run key or of an attempt id, as `harness runs` lists them.
    """
    from harness.report.runs import run_log
    from harness.store.writer import find_store

    found = run_log(find_store(settings.store), run)
    if as_json:
        json_line(_log_record(found))
    else:
        _print_log(found, find_store(settings.store).root)


@command()
@click.argument("sql", required=False)
@click.option(
    "-f", "--file", type=click.Path(path_type=Path), help="Read the statement from a file."
)
@click.option("--describe", is_flag=True, help="List the views and their columns.")
@format_option
@with_settings("store", "sample")
def query(
    sql: str | None, *, file: Path | None, describe: bool, style: str, settings: Settings
) -> None:
    """Answer SQL over the stored results.

    \b
    harness query "SELECT method, avg(map_at_r) FROM results GROUP BY method"
    harness query --describe
    """  # noqa: D301 - click reads \b as "keep these line breaks"
    from harness.report.tables import render
    from harness.store.database import describe_views, query
    from harness.store.writer import find_store

    if [sql is not None, file is not None, describe].count(True) != 1:
        raise click.UsageError("give one of: an SQL statement, -f FILE, --describe")
    store = find_store(settings.store)
    if describe:
        click.echo(render(describe_views(store), style))
        return
    click.echo(render(query(store, _read(file) if file else sql or ""), style))


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8"
        raise HarnessError(f"{file}: {reason}") from error


def _log_record(found: RunLog) -> dict[str, object]:
    from harness.report.tables import plain

    (attempt,) = found.facts.records()
    return {
        "attempt": plain(attempt),
        "metrics": [plain(record) for record in found.metrics.records()],
        "epochs": [plain(record) for record in found.epochs.records()],
    }


def _print_log(found: RunLog, root: Path) -> None:
    """Print what is known about an attempt, then its metrics, then its training curve."""
    from harness.report.tables import render

    (attempt,) = found.facts.records()
    facts((name, _fact_text(value)) for name, value in attempt.items() if name != "files")
    trace = root / "work" / str(attempt["run_key"]) / "traceback.txt"
    if attempt["status"] == "failed" and trace.is_file():
        facts([("traceback", trace)])
    for table in (found.metrics, found.epochs):
        if table.rows:
            click.echo()
            click.echo(render(table, "table"))


def _fact_text(value: object) -> str:
    """Return a cell on one line; a list of records as its values, one record after the other."""
    from harness.report.tables import cell_text

    if not isinstance(value, list):
        return "" if value == "{}" else cell_text(value)
    items = cast("list[object]", value)
    return ", ".join(
        " ".join(map(str, cast("dict[str, object]", item).values()))
        if isinstance(item, dict)
        else str(item)
        for item in items
    )
