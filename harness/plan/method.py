"""Protocol x request -> the protocol with a method's values in its open fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from harness import recipe as recipes
from harness.errors import HarnessError
from harness.plan.assignments import parse_assignments, refuse_closed, same, short_path, show
from harness.plan.contracts import Request
from harness.protocol import (
    COMPONENT_FIELDS,
    Protocol,
    full_path,
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
    published = _recipe_values(protocol, registry, request.recipe, picked)
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
        recipe=request.recipe,
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


def _recipe_values(
    protocol: Protocol, registry: Registry, name: str | None, picked: dict[Kind, Entry]
) -> dict[str, Any]:
    """Return a recipe's values by full path, and pick its loss unless that is done."""
    if name is None:
        return {}
    entry = registry.get("recipe", name)
    recipe = recipes.load(cast("RecipeSpec", entry.card))
    loss = f"loss:{entry.origin.distribution}:{recipe.method}"
    if not registry.matching(loss, ("loss",)):  # published for somebody else's loss
        loss = f"loss:{recipe.method}"
    method = _find(protocol, registry, loss)
    chosen = picked.setdefault("loss", method)
    if chosen != method:
        raise HarnessError(
            f"recipe {name} is for the loss {method.qualified}, not {chosen.qualified}",
            hint=f"--plugin {method.name}, or leave --recipe out",
        )
    values = {".".join(full_path(path)): value for path, value in recipe.values.items()}
    refuse_closed(protocol, values, who=f"recipe {name}:")
    return values


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
