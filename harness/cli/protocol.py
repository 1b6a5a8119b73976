"""`harness protocol`: read, check and compare protocols; nothing is run."""

from __future__ import annotations

import json
from textwrap import shorten
from typing import TYPE_CHECKING

import click

from harness.cli.errors import exit_code_of
from harness.cli.options import group, with_settings
from harness.cli.output import columns
from harness.errors import HarnessError
from harness.settings import Settings

if TYPE_CHECKING:
    from harness.protocol import Protocol
    from harness.registry import Registry


@group()
def protocol() -> None:
    """Show, validate and compare protocols."""


@protocol.command()
@click.argument("name", metavar="PROTOCOL")
def show(name: str) -> None:
    """Print a protocol with every default written out, and its digest."""
    from harness.protocol import digest, dump, load

    found = load(name)
    click.echo(f"# digest {digest(found)}\n{dump(found)}", nl=False)


@protocol.command()
@click.argument("names", metavar="PROTOCOL...", nargs=-1, required=True)
@with_settings()
def validate(names: tuple[str, ...], settings: Settings) -> int:
    """Check schema, components and parameters of protocols."""
    from harness.protocol import digest, load
    from harness.registry import discover

    registry = discover(only=settings.load_plugins)
    worst = 0
    for name in names:
        try:
            found = load(name)
            _check_components(found, registry)
            click.echo(f"{name}: valid, {found.name} v{found.version}, digest {digest(found)[:8]}")
        except HarnessError as error:
            worst = max(worst, exit_code_of(error, debug=False))
    return worst


def _check_components(protocol: Protocol, registry: Registry) -> None:
    """Raise for the first component, parameter or metric that is not installed or not allowed."""
    from harness.protocol import COMPONENT_FIELDS
    from harness.registry import check_kind, params

    for kind in map(check_kind, COMPONENT_FIELDS):
        component = getattr(protocol, kind)
        if component is not None:
            params(registry.get(kind, component.name), component.params)
    for name in (*protocol.evaluation.metrics, protocol.selection.metric):
        registry.metric(name)


@protocol.command()
@click.argument("first", metavar="PROTOCOL")
@click.argument("second", metavar="PROTOCOL")
def diff(first: str, second: str) -> None:
    """List the fields in which two protocols differ."""
    from harness.protocol import diff, digest, load

    a, b = load(first), load(second)
    if differences := diff(a, b):
        rows = [[shorten(str(cell), 60, placeholder="…") for cell in row] for row in differences]
        columns(("field", a.name, b.name), rows)
    same = digest(a) == digest(b)
    click.echo("comparable: same digest" if same else "not comparable: different digests")


@protocol.command()
def schema() -> None:
    """Print the JSON schema of protocol files, for editors."""
    from harness.protocol import Protocol

    click.echo(json.dumps(Protocol.model_json_schema(), indent=2))
