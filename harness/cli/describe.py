"""What a card says, as rows of text; reads the card alone and imports no component."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from harness.registry import Entry
from harness.specs import ComponentSpec, Params, Search

BRACKETS = {"ge": "[", "gt": "(", "le": "]", "lt": ")"}


class Parameter(NamedTuple):
    """One parameter of a component, each column as text."""

    name: str
    type: str
    default: str
    range: str
    search: str
    description: str


def parameters(model: type[Params]) -> list[Parameter]:
    """Describe every parameter of a card, in the order of its model."""
    return [_parameter(name, field) for name, field in model.model_fields.items()]


def card_facts(entry: Entry) -> dict[str, object]:
    """Return what a card says besides its parameters, empty facts left out."""
    general = {field.name for field in dataclasses.fields(ComponentSpec)}
    own = {
        field.name: getattr(entry.card, field.name)
        for field in dataclasses.fields(entry.card)
        if field.name not in general
    }
    facts = {
        "summary": entry.card.summary,
        "paper": entry.card.paper,
        "from": f"{entry.origin.distribution} {entry.origin.version}",
        "entry point": entry.origin.entry_point,
        "built by": source_of(entry.card.build),
        **own,
    }
    return {name: value for name, value in facts.items() if value not in (None, "", (), {})}


def source_of(build: Any) -> str:  # noqa: ANN401 - whatever a plugin registered as callable
    """Return `file:line` of a function, or its module when it has no code of its own."""
    while isinstance(build, functools.partial):
        build = build.func
    code = getattr(build, "__code__", None)
    if code is None:
        return str(getattr(build, "__module__", type(build).__module__))
    return f"{code.co_filename}:{code.co_firstlineno}"


def plain(value: object) -> object:
    """Return a fact as JSON can hold it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def text(value: object) -> str:
    """Return a fact as one line for people."""
    match plain(value):
        case dict() as facts:
            return ", ".join(f"{key} {_inside(item)}" for key, item in facts.items())
        case list() as items:
            return ", ".join(map(text, items))
        case bool() as answer:
            return "yes" if answer else "no"
        case other:
            return str(other)


def _inside(item: object) -> str:
    return f"({text(item)})" if isinstance(item, dict | list) else text(item)


def _parameter(name: str, field: FieldInfo) -> Parameter:
    marks = [*field.metadata, *_marks_inside(field.annotation)]
    required = field.default is PydanticUndefined and field.default_factory is None
    default = "required" if required else str(field.get_default(call_default_factory=True))
    search = next((mark for mark in marks if isinstance(mark, Search)), None)
    return Parameter(
        name=name,
        type=_type_name(field.annotation),
        default=default,
        range=_range(marks),
        search=f"{search.low:g} to {search.high:g}{', log' * search.log}" if search else "",
        description=field.description or "",
    )


def _range(marks: Sequence[object]) -> str:
    """Return `[0, 1)`-like bounds; one side open where a parameter has one bound only."""
    limits = {
        name: bound
        for mark in marks
        for name in BRACKETS
        if (bound := getattr(mark, name, None)) is not None
    }
    low = next(
        (f"{BRACKETS[name]}{limits[name]:g}" for name in ("ge", "gt") if name in limits), ""
    )
    high = next(
        (f"{limits[name]:g}{BRACKETS[name]}" for name in ("le", "lt") if name in limits), ""
    )
    return f"{low or '(-inf'}, {high or 'inf)'}" if low or high else ""


def _marks_inside(annotation: Any) -> Iterator[object]:  # noqa: ANN401 - any annotation
    """Yield the marks of `Annotated` members, as in `Annotated[int, Field(ge=1)] | None`."""
    for member in get_args(annotation) if get_origin(annotation) is not Literal else ():
        for mark in getattr(member, "__metadata__", ()):
            yield from mark.metadata if isinstance(mark, FieldInfo) else (mark,)


def _type_name(annotation: Any) -> str:  # noqa: ANN401 - any annotation
    origin, members = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "none"
    if origin is Annotated:
        return _type_name(members[0])
    if origin is Literal:
        return " | ".join(map(str, members))
    if not members:
        return str(getattr(annotation, "__name__", annotation))
    inner = [_type_name(member) for member in members if member is not ...]
    if isinstance(origin, type) and issubclass(origin, list | tuple | dict | set | frozenset):
        return f"{origin.__name__} of {', '.join(inner)}"
    return " | ".join(inner)
