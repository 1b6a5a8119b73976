"""`harness compare`: two methods, run by run and query by query."""

from __future__ import annotations

import click

from harness.cli.options import command, with_settings
from harness.cli.results import format_option
from harness.settings import Settings


@command()
@click.argument("first")
@click.argument("second")
@click.option(
    "--protocol", metavar="NAME", help="Under this one  [the newest that both ran under]"
)
@click.option("--metric", metavar="NAME", help="By this metric  [the protocol's first]")
@click.option(
    "--queries",
    "num_extreme",
    type=click.IntRange(0),
    metavar="N",
    default=5,
    show_default=True,
    help="Queries to name at each end.",
)
@format_option
@with_settings("store", "sample")
def compare(
    first: str,
    second: str,
    *,
    protocol: str | None,
    metric: str | None,
    num_extreme: int,
    style: str,
    settings: Settings,
) -> None:
    """Test whether two methods differ.

    FIRST and SECOND are methods as `harness leaderboard` calls them. Only runs of equal seed and
    fold are compared.
    """
    from harness.report.comparison import compare
    from harness.report.comparison_text import render_comparison
    from harness.store.writer import find_store

    found = compare(
        find_store(settings.store),
        first,
        second,
        protocol=protocol,
        metric=metric,
        num_extreme=num_extreme,
    )
    click.echo(render_comparison(found, style))
