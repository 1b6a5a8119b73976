"""Checks of what any card says, whatever its kind."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from harness.specs import Search
from harness.testing.conformance.report import Subject

LIMITS = ("ge", "gt", "le", "lt", "multiple_of")
LONGEST_SUMMARY = 120


def summary_is_one_line(subject: Subject) -> str | None:
    """Expect a summary that fits into a table."""
    summary = subject.card.summary
    if not summary.strip() or "\n" in summary:
        return f"the summary is {summary!r}"
    if len(summary) > LONGEST_SUMMARY:
        return f"the summary has {len(summary)} characters, {LONGEST_SUMMARY} are shown"
    return None


def parameters_are_described(subject: Subject) -> str | None:
    """Expect a description of every parameter."""
    fields = subject.card.params.model_fields
    silent = [name for name, field in fields.items() if not (field.description or "").strip()]
    return f"no description of {', '.join(silent)}" if silent else None


def numbers_have_a_range(subject: Subject) -> str | None:
    """Expect a limit on every parameter that is a number."""
    fields = subject.card.params.model_fields
    endless = [name for name, field in fields.items() if _is_number(field) and not _limits(field)]
    return f"no range of {', '.join(endless)}" if endless else None


def searches_stay_in_range(subject: Subject) -> str | None:
    """Expect that both ends of every search interval are values the parameter may take."""
    params = subject.params
    for name, field in subject.card.params.model_fields.items():
        for search in (mark for mark in _marks(field) if isinstance(mark, Search)):
            for end in (search.low, search.high):
                value = int(end) if _plain_types(field) == {int} else end
                try:
                    type(params).model_validate({**params.model_dump(), name: value})
                except ValueError as error:
                    return f"{name} cannot be {value}: {str(error).splitlines()[-1].strip()}"
    return None


def _is_number(field: FieldInfo) -> bool:
    return bool(_plain_types(field) & {int, float})


def _plain_types(field: FieldInfo) -> set[Any]:
    """Return the types a field may have, unions and annotations taken apart."""
    return set(_types(field.annotation)) - {type(None)}


def _types(annotation: Any) -> Iterator[Any]:  # noqa: ANN401 - any annotation
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _types(get_args(annotation)[0])
    elif origin is Union or origin is UnionType:
        for member in get_args(annotation):
            yield from _types(member)
    else:
        yield annotation  # a class, words, or a container, whose members are not ours to bound


def _limits(field: FieldInfo) -> bool:
    return any(
        getattr(mark, limit, None) is not None for mark in _marks(field) for limit in LIMITS
    )


def _marks(field: FieldInfo) -> Iterator[object]:
    yield from field.metadata
    for member in get_args(field.annotation):
        for mark in getattr(member, "__metadata__", ()):
            yield from mark.metadata if isinstance(mark, FieldInfo) else (mark,)


CARD_CHECKS = (
    summary_is_one_line,
    parameters_are_described,
    numbers_have_a_range,
    searches_stay_in_range,
)
