"""`harness recipes`: published settings, and the protocols they were published for."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

from harness.cli.options import command, with_settings
from harness.cli.output import columns, facts, json_line
from harness.errors import HarnessError, did_you_mean
from harness.settings import Settings

if TYPE_CHECKING:
    from harness.recipe import Recipe
    from harness.registry import Entry, Registry
    from harness.specs import RecipeSpec


@command()
@click.argument("name", required=False)
@click.option("--method", metavar="LOSS", help="Only recipes for this loss.")
@click.option("--protocol", metavar="PROTOCOL", help="Only recipes published for this protocol.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per recipe, values too.")
@with_settings()
def recipes(
    name: str | None,
    *,
    method: str | None,
    protocol: str | None,
    settings: Settings,
    as_json: bool,
) -> None:
    """List published settings, or show one in full.

    \b
    harness recipes --method hist
    harness recipes --protocol conventional_cub_resnet50_512
    harness recipes hist/cub_resnet50
    """  # noqa: D301 - click reads \b as "keep these line breaks"
    from harness.registry import discover

    registry = discover(only=settings.load_plugins)
    chosen = _chosen(registry, name, method)
    if protocol is not None:
        chosen = _published_for(chosen, protocol)
    if as_json:
        for entry in chosen:
            recipe = _load(entry)
            json_line(
                {"distribution": entry.origin.distribution, **recipe.model_dump(mode="json")}
            )
    elif name is not None:
        _print_recipe(_load(chosen[0]))
    else:
        columns(
            ("method", "recipe", "summary"),
            [(_card(entry).method, entry.name, entry.card.summary) for entry in chosen],
        )


def _chosen(registry: Registry, name: str | None, method: str | None) -> list[Entry]:
    """Return the recipes by name or method, sorted by method and name.

    Raises:
        HarnessError: There is none.
    """
    if name is not None:
        from harness.plan.recipes import find_recipe

        loss = registry.get("loss", method) if method is not None else None
        return [find_recipe(registry, name, loss=loss)]
    found = sorted(registry.entries("recipe"), key=lambda e: (_card(e).method, e.name))
    if method is None:
        return found
    short = method.rpartition(":")[2]
    if chosen := [entry for entry in found if _card(entry).method == short]:
        return chosen
    known = {_card(entry).method for entry in found}
    hint = did_you_mean(short, known) or f"there are recipes for {', '.join(sorted(known))}"
    raise HarnessError(f"no recipe for the method {method!r}", hint=hint)


def _published_for(entries: list[Entry], protocol: str) -> list[Entry]:
    from harness.protocol import load

    wanted = load(protocol).name
    return [entry for entry in entries if wanted in _load(entry).protocols]


def _print_recipe(recipe: Recipe) -> None:
    """Print what a recipe says, and what to type to run it."""
    from harness.documents import dump_yaml

    click.echo(f"recipe {recipe.method}/{recipe.name}")
    facts((("summary", recipe.summary), ("source", recipe.source)), indent=2)
    click.echo()
    click.echo(dump_yaml(recipe.values), nl=False)
    for caveat in recipe.caveats:
        click.echo(f"\ncaveat: {caveat}")
    click.echo()
    for protocol in recipe.protocols:
        click.echo(f"harness run {protocol} --recipe {recipe.method}/{recipe.name}")


def _load(entry: Entry) -> Recipe:
    from harness.recipe import load

    return load(_card(entry))


def _card(entry: Entry) -> RecipeSpec:
    return cast("RecipeSpec", entry.card)
