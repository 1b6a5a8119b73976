"""Protocol x request -> the protocol with a method's values in its open fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from harness.errors import HarnessError
from harness.plan.assignments import parse_assignments, refuse_closed, same, short_path, show
from harness.plan.contracts import Request
from harness.plan.recipes import find_recipe, values_for
from harness.protocol import (
    COMPONENT_FIELDS,
    Protocol,
    is_open,
    value_at,
    with_values,
)
from harness.registry import Entry, Registry
from harness.specs import Kind, RecipeSpec

KINDS = cast("tuple[Kind, ...]", tuple(COMPONENT_FIELDS))


@dataclass(frozen=True, slots=True)
class Method:
    """A protocol with a method's values in it.

    Attributes:
        written: The protocol as its file says.
        base: With the chosen components and the recipe; what the label compares with.
        protocol: With the user's own values as well.
        recipe: Name of the recipe.
        settings: Recipe and user's values in open fields, by short path.
        deviations: User's values in fixed fields that differ from the protocol, by short path.
    """

    written: Protocol
    base: Protocol
    protocol: Protocol
    recipe: str | None
    settings: Mapping[str, Any]
    deviations: Mapping[str, Any]


def resolve(protocol: Protocol, registry: Registry, request: Request) -> Method:
    """Put a request's components, recipe and values into a protocol.

    Raises:
        HarnessError: A name or path is unknown, or the protocol fixes what the request changes.
    """
    picked = _pick(protocol, registry, request.plugins)
    recipe = _find_recipe(protocol, registry, request.recipe, picked)
    published = _recipe_values(protocol, registry, recipe, picked) if recipe else {}
    own = parse_assignments(request.settings, option="--set")
    refuse_closed(protocol, own, who="--set")
    forced = parse_assignments(request.deviations, option="--deviate")
    _refuse_repeats(own, forced)

    named = {
        f"{kind}.name": entry.qualified
        for kind, entry in picked.items()
        if not _is_written(protocol, registry, entry)
    }
    typed = {**own, **forced}
    _refuse_two_names(picked, typed)
    base = with_values(protocol, _renamed(protocol, {**named, **published}))
    deviations = {
        path: value
        for path, value in forced.items()
        if not is_open(protocol, path) and not same(value_at(protocol, path), value)
    }
    settings = {p: v for p, v in {**published, **typed}.items() if p not in deviations}
    return Method(
        written=protocol,
        base=base,
        protocol=with_values(base, _renamed(base, typed)),
        recipe=recipe.name if recipe else None,
        settings={short_path(path): value for path, value in settings.items()},
        deviations={short_path(path): value for path, value in deviations.items()},
    )


def _pick(protocol: Protocol, registry: Registry, names: tuple[str, ...]) -> dict[Kind, Entry]:
    """Return what each `--plugin` means, by kind."""
    picked: dict[Kind, Entry] = {}
    for name in names:
        entry = _find(protocol, registry, name)
        if entry.kind in picked:
            raise HarnessError(
                f"--plugin names two components of kind {entry.kind}: "
                f"{picked[entry.kind].qualified} and {entry.qualified}",
                hint="a run has one of each kind; start one run per method",
            )
        picked[entry.kind] = entry
    return picked


def _find(protocol: Protocol, registry: Registry, name: str) -> Entry:
    open_kinds: list[Kind] = [kind for kind in KINDS if is_open(protocol, kind)]
    if registry.matching(name, open_kinds) or not registry.matching(name, KINDS):
        return registry.find(name, open_kinds)
    entry = registry.find(name, KINDS)
    if _is_written(protocol, registry, entry):
        return entry
    fixed = show(value_at(protocol, f"{entry.kind}.name"))
    raise HarnessError(
        f"protocol {protocol.name} fixes its {entry.kind} ({fixed})",
        hint=f"--deviate {entry.kind}.name={entry.name} runs it, marked as a deviation; "
        f"open here: {', '.join(protocol.open) or 'nothing'}",
    )


def _is_written(protocol: Protocol, registry: Registry, entry: Entry) -> bool:
    """Return whether the protocol itself names this component."""
    written = getattr(protocol, entry.kind)
    return written is not None and entry in registry.matching(written.name, (entry.kind,))


def _find_recipe(
    protocol: Protocol, registry: Registry, name: str | None, picked: Mapping[Kind, Entry]
) -> Entry | None:
    """Return the recipe that is asked for, by the loss that is named with it or written."""
    if name is None:
        return None
    written = registry.matching(protocol.loss.name, ("loss",)) if protocol.loss else []
    loss = picked.get("loss") or (written[0] if len(written) == 1 else None)
    return find_recipe(registry, name, loss=loss)


def _recipe_values(
    protocol: Protocol, registry: Registry, recipe: Entry, picked: dict[Kind, Entry]
) -> dict[str, Any]:
    """Return a recipe's values by full path, and pick its loss unless that is done.

    A component that the user names replaces the recipe's, parameters included.
    """
    method = _recipe_loss(protocol, registry, recipe)
    chosen = picked.setdefault("loss", method)
    if chosen != method:
        raise HarnessError(
            f"recipe {recipe.name} is for the loss {method.qualified}, not {chosen.qualified}",
            hint=f"--plugin {method.name}, or leave --recipe out",
        )
    values = values_for(protocol, recipe)
    replaced = {
        kind
        for kind, entry in picked.items()
        if entry not in registry.matching(str(values.get(f"{kind}.name", entry.name)), (kind,))
    }
    return {path: v for path, v in values.items() if path.partition(".")[0] not in replaced}


def _recipe_loss(protocol: Protocol, registry: Registry, recipe: Entry) -> Entry:
    """Return the loss a recipe is for: its own plugin's, or somebody else's of that name."""
    name = cast("RecipeSpec", recipe.card).method
    own = f"loss:{recipe.origin.distribution}:{name}"
    return _find(protocol, registry, own if registry.matching(own, ("loss",)) else f"loss:{name}")


def _refuse_repeats(own: Mapping[str, Any], forced: Mapping[str, Any]) -> None:
    for path in own.keys() & forced.keys():
        raise HarnessError(f"{short_path(path)} is given twice", hint="keep one of the two")


def _refuse_two_names(picked: Mapping[Kind, Entry], typed: Mapping[str, Any]) -> None:
    for kind, entry in picked.items():
        if kind in typed or f"{kind}.name" in typed:
            raise HarnessError(
                f"--plugin {entry.name} already names the {kind}", hint="keep one of the two"
            )


def _renamed(protocol: Protocol, values: Mapping[str, Any]) -> dict[str, Any]:
    """Add empty parameters for each component that gets another name.

    The old component's parameters mean nothing to the new one.
    """
    cleared = {
        f"{kind}.params": {}
        for kind in KINDS
        if f"{kind}.name" in values
        and not same(values[f"{kind}.name"], value_at(protocol, f"{kind}.name"))
    }
    return {**cleared, **values}
