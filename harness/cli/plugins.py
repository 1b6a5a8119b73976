"""`harness plugins` and `harness show`: what is installed, read from cards alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import click

from harness.cli.options import command, with_settings
from harness.cli.output import columns, facts, json_line
from harness.settings import Settings

if TYPE_CHECKING:
    from harness.registry import Entry, PluginReport
    from harness.specs import Kind


@command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object per plugin.")
@with_settings()
def plugins(*, settings: Settings, as_json: bool) -> None:
    """List installed plugins and their components."""
    from harness.registry import discover

    reports = discover(only=settings.load_plugins).plugins
    if as_json:
        for report in reports:
            json_line(plugin_record(report))
        return
    print_plugins(reports)


@command()
@click.argument("kind", required=False)
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per component.")
@with_settings()
def show(kind: str | None, name: str | None, *, settings: Settings, as_json: bool) -> None:
    """Describe one component and its parameters.

    With a KIND alone it lists the components of that kind, with nothing all of them.
    """
    from harness.registry import check_kind, discover

    registry = discover(only=settings.load_plugins)
    if kind and name:
        print_component(registry.get(check_kind(kind), name), as_json=as_json)
    else:
        entries = registry.entries(check_kind(kind)) if kind else registry.cards
        print_components(entries, as_json=as_json)


def plugin_record(report: PluginReport) -> dict[str, object]:
    """Return what is known of a plugin as JSON can hold it."""
    return {
        "plugin": str(report.origin),
        "distribution": report.origin.distribution,
        "version": report.origin.version,
        "entry_point": report.origin.entry_point,
        "module": report.origin.module,
        "file": report.file,
        "components": dict(report.counts),
        "problems": list(report.problems),
        "seconds": round(report.seconds, 4),
    }


def print_plugins(reports: Iterable[PluginReport]) -> None:
    """Print a table of plugins, then what is wrong with any of them."""
    reports = list(reports)
    rows = [
        (report.origin, report.origin.version, _counted(report.counts), report.file or "-")
        for report in reports
    ]
    columns(("plugin", "version", "components", "file"), rows)
    for report in reports:
        for problem in report.problems:
            click.echo(f"problem in {report.origin}: {problem}")


def print_components(entries: Iterable[Entry], *, as_json: bool) -> None:
    """Print one line per component."""
    if not as_json:
        rows = [(e.kind, e.name, e.origin.distribution, e.card.summary) for e in entries]
        columns(("kind", "name", "distribution", "summary"), rows)
        return
    for entry in entries:
        json_line(_named(entry) | {"summary": entry.card.summary})


def print_component(entry: Entry, *, as_json: bool) -> None:
    """Print all that a card says, and its parameters."""
    from harness.cli.describe import card_facts, parameters, plain, text

    said, rows = card_facts(entry), parameters(entry.card.params)
    if as_json:
        table = [row._asdict() for row in rows]
        json_line(_named(entry) | {name: plain(v) for name, v in said.items()} | {"params": table})
        return
    click.echo(f"{entry.kind} {entry.name}")
    facts(((name, text(value)) for name, value in said.items()), indent=2)
    click.echo()
    if rows:
        columns(("parameter", "type", "default", "range", "search", "description"), rows)
    else:
        click.echo("no parameters")


def _named(entry: Entry) -> dict[str, object]:
    return {"kind": entry.kind, "name": entry.name, "distribution": entry.origin.distribution}


def _counted(counts: Mapping[Kind, int]) -> str:
    """Return `2 losses, 1 miner`."""
    return ", ".join(
        f"{count} {kind if count == 1 else kind + ('es' if kind.endswith('s') else 's')}"
        for kind, count in counts.items()
    )
