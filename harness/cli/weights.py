"""`harness weights`: published weight files, and how they get here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import click

from harness.cli.options import command, group, with_settings
from harness.cli.output import columns, json_line
from harness.errors import HarnessError, did_you_mean
from harness.settings import Settings, check_online

if TYPE_CHECKING:
    from harness.registry import Registry
    from harness.specs import WeightFile


class Published(NamedTuple):
    """A weight file and the names it goes by."""

    backbone: str
    key: str
    file: WeightFile


@group()
def weights() -> None:
    """List and fetch published weights."""


@command("list")
@with_settings("weights")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per file.")
def list_weights(*, settings: Settings, as_json: bool) -> None:
    """List published weights, and where they lie on this machine."""
    from harness.registry import discover
    from harness.weights import locate

    rows = [
        (one.backbone, one.key, locate(one.file, settings.weights), one.file.url)
        for one in _published(discover(only=settings.load_plugins))
    ]
    if as_json:
        for row in rows:
            json_line(dict(zip(("backbone", "weights", "path", "url"), row, strict=True)))
        return
    columns(("backbone", "weights", "state"), [(*row[:2], row[2] or "missing") for row in rows])


@command("fetch")
@click.argument("backbone")
@click.argument("key", required=False)
@with_settings("weights")
def fetch_weights(backbone: str, key: str | None, *, settings: Settings) -> None:
    """Download the weights of a BACKBONE: those of KEY, or all.

    \b
    harness weights fetch resnet50
    harness weights fetch resnet50 imagenet
    """  # noqa: D301 - click reads \b as "keep these line breaks"
    from harness.cli.transfers import progress_line
    from harness.download import size_text
    from harness.registry import discover
    from harness.weights import require

    check_online(settings, "harness weights fetch")
    registry = discover(only=settings.load_plugins)
    name = registry.get("backbone", backbone).name
    files = [
        one for one in _published(registry) if one.backbone == name and key in {None, one.key}
    ]
    if not files:
        keys = [one.key for one in _published(registry) if one.backbone == name]
        raise HarnessError(
            f"backbone {backbone} has no weights {key}" if key else f"{backbone} has no weights",
            hint=did_you_mean(key or "", keys) or "harness weights list",
        )
    with progress_line(size_text) as tell:
        for one in files:
            title = f"{one.backbone} {one.key}"
            path = require(
                one.file,
                settings.weights,
                download=True,
                progress=lambda done, total, title=title: tell(title, done, total),
            )
            click.echo(path)


weights.add_command(list_weights)
weights.add_command(fetch_weights)


def _published(registry: Registry) -> Iterator[Published]:
    """Yield every weight file that a backbone's card names."""
    from harness.specs import BackboneSpec

    for entry in registry.entries("backbone"):
        assert isinstance(entry.card, BackboneSpec), entry.card
        for key, file in entry.card.weights.items():
            yield Published(entry.name, key, file)
