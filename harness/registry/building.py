"""From a card to what it builds, for notebooks and tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, replace
from functools import cache
from typing import Any

from harness.contracts import (
    BackboneContext,
    BuildContext,
    DataContext,
    LossBuilder,
    LossParts,
    SamplerContext,
)
from harness.errors import HarnessError, did_you_mean
from harness.registry.discovery import discover
from harness.registry.lookup import Entry, Registry, check_kind, params
from harness.settings import resolve
from harness.specs import Kind

_CONTEXTS: Mapping[Kind, type[Any]] = {
    "loss": BuildContext,
    "miner": BuildContext,
    "sampler": SamplerContext,
    "backbone": BackboneContext,
    "dataset": DataContext,
}


@cache
def installed() -> Registry:
    """Return what the settings load, discovered once per process."""
    return discover(only=resolve().load_plugins)


def build_component(
    registry: Registry,
    kind: str,
    name: str,
    values: Mapping[str, Any],
    context: object | None,
    context_fields: Mapping[str, object],
) -> Any:  # noqa: ANN401 - each kind builds something else
    """Build a component after checking its parameters and its context; see `harness.build`."""
    checked = check_kind(kind)
    if checked == "recipe":
        raise HarnessError("a recipe is read, not built", hint="harness.recipe.load(card)")
    if checked == "metric" and not values:
        entry, resolved = registry.metric(name)  # knows families: `recall_at_10`
    else:
        entry = registry.get(checked, name)
        resolved = params(entry, values)
    made = _context(entry, context, context_fields)
    if isinstance(made, BuildContext) and made.build_loss is None:
        made = replace(made, build_loss=loss_builder(lambda: registry))
    return entry.card.build(resolved, made)


def loss_builder(registry: Callable[[], Registry] = installed) -> LossBuilder:
    """Return what builds a registered loss by name; the registry is asked for when it does."""

    def build(name: str, values: Mapping[str, Any], context: BuildContext, /) -> LossParts:
        return build_component(registry(), "loss", name, values, context, {})

    return build


def _context(entry: Entry, given: Any, wanted: Mapping[str, object]) -> object | None:  # noqa: ANN401
    """Return the context with the wanted fields set, made from defaults if none is given."""
    expected = _CONTEXTS.get(entry.kind)
    if expected is None:
        return given
    if given is not None and not isinstance(given, expected):
        raise HarnessError(
            f"{entry.kind} {entry.name} is built from a {expected.__name__}, "
            f"not from a {type(given).__name__}"
        )
    known = [field.name for field in fields(expected)]
    for name in wanted:
        if name not in known:
            near = did_you_mean(name, known) or f"it has {', '.join(known)}"
            raise HarnessError(f"{expected.__name__} has no field {name!r}", hint=near)
    if given is not None:
        return replace(given, **wanted)
    return _made(entry, expected, {**_from_settings(entry.kind), **wanted})


def _made(entry: Entry, expected: type[Any], values: Mapping[str, object]) -> object:
    needed = [
        field.name
        for field in fields(expected)
        if field.default is MISSING and field.default_factory is MISSING
    ]
    missing = [name for name in needed if name not in values]
    if missing:
        raise HarnessError(
            f"{entry.kind} {entry.name} needs {' and '.join(missing)}",
            hint=f'harness.build("{entry.kind}", "{entry.name}", {missing[0]}=…)',
        )
    return expected(**values)


def _from_settings(kind: Kind) -> dict[str, object]:
    """Return where files are, for the kinds that read files."""
    if kind == "dataset":
        return {"root": resolve().data}
    return {"folder": resolve().weights} if kind == "backbone" else {}
