"""`harness ensemble`: the models of all folds of one seed, scored as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import click

from harness.cli.options import command, with_settings
from harness.cli.output import json_line
from harness.cli.results import format_option
from harness.errors import HarnessError
from harness.settings import Settings

if TYPE_CHECKING:
    from harness.execute.ensembles import Joined
    from harness.registry import Registry
    from harness.study.work import Work


@command()
@click.argument("protocol", required=False)
@click.option("--metric", metavar="NAME", help="Show this metric  [the protocol's first]")
@format_option
@with_settings("store", "device", "backend", "memory")
def ensemble(protocol: str | None, *, metric: str | None, style: str, settings: Settings) -> int:
    """Score the models of all folds as one, from saved embeddings.

    PROTOCOL is a name or the beginning of a digest; without it, every protocol that has folds.
    Its runs must have been done with --save-embeddings. What the store has is not done again.

    \b
    harness run mlrc_cub --plugin contrastive --seeds 0-9 --save-embeddings
    harness ensemble mlrc_cub
    """  # noqa: D301 - click reads \b as "keep these line breaks"
    from harness.registry import discover

    joined = join(settings, discover(only=settings.load_plugins), protocol=protocol, hear=say)
    states = {one.state for one in joined}
    if not states & {"new", "known", "failed"}:
        raise HarnessError(
            "nothing to join: no method has all folds of a seed with saved embeddings",
            hint="harness run PROTOCOL --plugin NAME --save-embeddings",
        )
    show(settings, protocol=protocol, metric=metric, style=style)
    return 1 if "failed" in states else 0


def join_after(work: Work, registry: Registry, settings: Settings, *, as_json: bool) -> bool:
    """Join what a study has made, say how much, and return whether all went well."""

    def hear(joined: Joined) -> None:
        if joined.state == "failed":
            say(joined)

    joined = join(settings, registry, digests=work.protocol_digests, hear=hear)
    counts = Counter(one.state for one in joined)
    if as_json:
        json_line({"event": "ensembles", **counts})
    else:
        told = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        click.echo(f"ensembles  {told or 'none'}")
        for one in [one for one in joined if one.state == "incomplete"][:1]:
            click.echo(f"  {one.candidate.method}, seed {one.candidate.seed}: {one.reason}")
    return not counts["failed"]


def join(
    settings: Settings,
    registry: Registry,
    *,
    hear: Callable[[Joined], None],
    protocol: str | None = None,
    digests: Collection[str] | None = None,
) -> tuple[Joined, ...]:
    """Add the ensembles that can be joined, and return what became of each."""
    from harness.execute.ensembles import Ranker, join_all
    from harness.store.writer import find_store

    return join_all(
        find_store(settings.store),
        registry,
        protocol=protocol,
        digests=digests,
        ranker=Ranker(device=settings.device, backend=settings.backend, memory=settings.memory),
        on_joined=hear,
    )


def show(settings: Settings, *, protocol: str | None, metric: str | None, style: str) -> None:
    """Print the means over seeds."""
    from harness.report.ensembles import ensemble_table
    from harness.report.tables import render
    from harness.store.writer import find_store

    table = ensemble_table(find_store(settings.store), protocol=protocol, metric=metric)
    if metric is not None and not table.rows:
        raise HarnessError(f"no ensemble has a value of {metric!r}")
    click.echo(render(table, style))


def say(joined: Joined) -> None:
    """Print what became of a method and seed, unless nothing did."""
    one = joined.candidate
    if joined.state != "known":
        reason = f": {joined.reason}" if joined.reason else ""
        click.echo(
            f"{joined.state}  {one.protocol}  {one.method}  seed {one.seed}{reason}", err=True
        )
