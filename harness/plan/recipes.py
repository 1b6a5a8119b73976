"""Which recipe a name means, and what it asks of a protocol."""

from __future__ import annotations

from typing import Any, NoReturn, cast

from harness import recipe as recipes
from harness.errors import HarnessError
from harness.plan.assignments import refuse_closed
from harness.protocol import Protocol, full_path
from harness.recipe import Recipe
from harness.registry import Entry, Registry
from harness.specs import RecipeSpec


def find_recipe(registry: Registry, name: str, *, loss: Entry | None) -> Entry:
    """Return the recipe called `name`, `method/name` or `distribution:name`.

    Methods share names such as `cub_resnet50`; the chosen loss decides between them.

    Raises:
        HarnessError: There is none for this method, or no loss decides between several.
    """
    method, _, short = name.rpartition("/")
    found = registry.matching(short, ("recipe",))
    if not found:
        return registry.get("recipe", short)  # raises, with what is near
    fitting = [entry for entry in found if method in {"", _card(entry).method}]
    if not fitting:
        _refuse_method(short, method, found)
    if len(fitting) > 1 and loss is not None:
        fitting = [e for e in fitting if _card(e).method == loss.name] or fitting
    if len({_card(entry).method for entry in fitting}) > 1:
        choices = [f"--recipe {qualified(entry)}" for entry in fitting]
        raise HarnessError(
            f"recipe {short!r} is ambiguous: {len(fitting)} methods have one",
            hint=f"type {' or '.join(choices)}",
        )
    return fitting[0] if len(fitting) == 1 else registry.get("recipe", short)


def qualified(entry: Entry) -> str:
    """Return `method/name`."""
    return f"{_card(entry).method}/{entry.name}"


def values_for(protocol: Protocol, entry: Entry) -> dict[str, Any]:
    """Return a recipe's values by full path.

    Raises:
        HarnessError: The protocol fixes one of the fields; the hint names one that does not.
    """
    recipe = recipes.load(_card(entry))
    values = {".".join(full_path(path)): value for path, value in recipe.values.items()}
    refuse_closed(protocol, values, who=f"recipe {entry.name}:", instead=_advice(recipe))
    return values


def _advice(recipe: Recipe) -> str:
    """Return what to type to run a recipe where it was published."""
    if not recipe.protocols:
        return ""
    return (
        f"it was published for {', '.join(recipe.protocols)}; "
        f"harness run {recipe.protocols[0]} --recipe {recipe.method}/{recipe.name}"
    )


def _card(entry: Entry) -> RecipeSpec:
    return cast("RecipeSpec", entry.card)


def _refuse_method(short: str, method: str, found: list[Entry]) -> NoReturn:
    choices = [f"--recipe {qualified(entry)}" for entry in found]
    raise HarnessError(
        f"method {method} has no recipe {short!r}", hint=f"type {' or '.join(choices)}"
    )
