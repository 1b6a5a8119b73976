"""Pydantic models checked against plain data, with errors that a person can act on.

Data is checked as JSON in strict mode: `true` is no number, `"4"` is no integer, and a list may
become a tuple.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from harness.documents.reading import Document, Key, KeyPath, describe
from harness.errors import HarnessError, did_you_mean

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Model = TypeVar("Model", bound=BaseModel)


class Problem(NamedTuple):
    """One thing wrong with the data, at a path that may not be written yet."""

    path: KeyPath
    message: str


def validate(model: type[Model], document: Document) -> Model:
    """Return the model a document describes.

    Raises:
        HarnessError: One line per problem, `file:line:column: path: what is wrong`, in the order
            of the file.
    """
    try:
        return model.model_validate_json(_as_json(document), strict=True)
    except ValidationError as error:
        problems = _explain(error, model, document.data)
    # A missing key has no place of its own and often follows from a misspelt one: it comes last.
    end_of_file = (sys.maxsize, 0)
    problems.sort(key=lambda problem: document.positions.get(problem.path, end_of_file))
    lines = [f"{document.where(path)}{_labelled(path)}{message}" for path, message in problems]
    raise HarnessError("\n".join(lines))


def _explain(error: ValidationError, model: type[BaseModel], data: object) -> list[Problem]:
    """Return one problem for each path that pydantic complains about.

    Pydantic names the alternatives of a union inside the path; they are taken out, and what the
    alternatives say about one value is joined into one sentence.
    """
    messages: dict[KeyPath, list[str]] = {}
    for details in error.errors(include_url=False):
        path = _written_path(details, data)
        message = _message(details, model)
        if message not in messages.setdefault(path, []):
            messages[path].append(message)
    return [Problem(path, " or ".join(said)) for path, said in messages.items()]


def keys_at(model: type[BaseModel], path: Iterable[Key]) -> frozenset[str] | None:
    """Return the keys a model allows below a path; None where it sets no limit (`params`).

    An empty set means that the path names a plain value; a KeyError that it names nothing.
    """
    annotations: list[Any] = [model]
    for key in path:
        annotations = _below(annotations, key)
    if any(get_origin(kind) is dict or kind is Any for kind in annotations):
        return None
    models = [kind for kind in annotations if _is_model(kind)]
    return frozenset(name for kind in models for name in kind.model_fields)


def _below(annotations: Sequence[Any], key: Key) -> list[Any]:
    """Return what may stand under a key of any of the given types."""
    found: list[Any] = []
    for kind in annotations:
        if _is_model(kind) and key in kind.model_fields:
            found.extend(_alternatives(kind.model_fields[str(key)].annotation))
        elif get_origin(kind) is dict:
            found.extend(_alternatives(get_args(kind)[1]))
        elif get_origin(kind) in {tuple, list} and str(key).isdigit():
            found.extend(_alternatives(get_args(kind)[0]))
        elif kind is Any:
            found.append(Any)
        elif _is_union_tag(kind, key):
            found.append(kind)
    if not found:
        raise KeyError(key)
    return found


def _alternatives(annotation: Any) -> list[Any]:  # noqa: ANN401 - any annotation
    """Return the members of a union, or the type itself; `Annotated` is looked through."""
    if hasattr(annotation, "__metadata__"):
        return _alternatives(annotation.__origin__)
    if get_origin(annotation) in {None, dict, tuple, list, Literal}:
        return [annotation]
    return [kind for member in get_args(annotation) for kind in _alternatives(member)]


def _is_model(kind: Any) -> bool:  # noqa: ANN401 - any annotation
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _is_union_tag(kind: Any, key: Key) -> bool:  # noqa: ANN401 - any annotation
    """Return whether a key is the value by which a discriminated union picks this model."""
    return _is_model(kind) and any(
        get_origin(field.annotation) is Literal and key in get_args(field.annotation)
        for field in kind.model_fields.values()
    )


def _written_path(details: ErrorDetails, data: object) -> KeyPath:
    """Return pydantic's location without the names of union members."""
    path: list[Key] = []
    *parents, last = details["loc"] or ("",)
    for key in parents:
        if _has(data, key):
            data = data[key]  # type: ignore[index] - _has says so
            path.append(key)
    if _has(data, last) or (details["type"] == "missing" and last):
        path.append(last)
    return tuple(path)


def _has(data: object, key: Key) -> bool:
    if isinstance(data, dict):
        return key in data
    return isinstance(data, list | tuple) and isinstance(key, int) and key < len(data)


def _labelled(path: KeyPath) -> str:
    return f"{'.'.join(map(str, path))}: " if path else ""


def _as_json(document: Document) -> str:
    def plain(value: object) -> object:
        if isinstance(value, PurePath):
            return str(value)
        raise HarnessError(
            f"{document.where(())}{value!r} is a {type(value).__name__}",
            hint="give plain numbers, text, lists and mappings",
        )

    return json.dumps(document.data, default=plain)


# --- pydantic's complaints in our words ---------------------------------------------------------


def _message(details: ErrorDetails, model: type[BaseModel]) -> str:
    if details["type"] == "extra_forbidden":
        return _unknown_key(details["loc"], model)
    words = _WORDS.get(details["type"], _in_our_words)
    return words(details)


def _required(_: ErrorDetails) -> str:
    return "this key is required"


def _validator_said(details: ErrorDetails) -> str:
    return str(_context(details)["error"])


def _outside_literal(details: ErrorDetails) -> str:
    return _not_one_of(details["input"], str(_context(details)["expected"]))


def _outside_union(details: ErrorDetails) -> str:
    return _not_one_of(_context(details)["tag"], str(_context(details)["expected_tags"]))


def _tag_missing(details: ErrorDetails) -> str:
    return f"needs the key {_context(details)['discriminator']}"


def _outside_range(details: ErrorDetails) -> str:
    limits = {
        "le": "is more than",
        "ge": "is less than",
        "lt": "must be less than",
        "gt": "must be more than",
    }
    ((limit, bound),) = _context(details).items()
    return f"{describe(details['input'])} {limits[limit]} {bound:g}"


_WORDS: dict[str, Callable[[ErrorDetails], str]] = {
    "missing": _required,
    "value_error": _validator_said,
    "literal_error": _outside_literal,
    "union_tag_invalid": _outside_union,
    "union_tag_not_found": _tag_missing,
    "less_than": _outside_range,
    "less_than_equal": _outside_range,
    "greater_than": _outside_range,
    "greater_than_equal": _outside_range,
}


def _context(details: ErrorDetails) -> dict[str, Any]:
    return details.get("ctx", {})


def _in_our_words(details: ErrorDetails) -> str:
    words = details["msg"].replace("Input should be", "must be").replace("Value should", "must")
    replacements = {
        "String should": "must",
        "must be an object": "must be a mapping",
        "a valid boolean": "true or false",
        "a valid string": "text",
        "a valid array": "a list",
        "a valid dictionary": "a mapping",
        "a valid ": "a ",
        "a integer": "an integer",
    }
    for theirs, ours in replacements.items():
        words = words.replace(theirs, ours)
    return f"{words}, is {describe(details['input'])}"


def _unknown_key(location: Sequence[Key], model: type[BaseModel]) -> str:
    *parents, key = location
    try:
        valid = keys_at(model, parents) or frozenset()
    except KeyError:
        valid = frozenset()
    return f"unknown key{_suggest(str(key), valid)}"


def _not_one_of(value: object, expected: str) -> str:
    """Return the sentence for a value outside an enumeration that pydantic has written out."""
    valid = [word.strip(" '") for word in expected.replace(" or ", ",").split(",")]
    return f"{describe(value)} is not one of {expected}" + (
        f"; {near}" if (near := did_you_mean(str(value), valid)) else ""
    )


def _suggest(word: str, valid: Iterable[str]) -> str:
    """Return ` (did you mean …?)`, or the valid words when none is near and they are few."""
    names = sorted(valid)
    near = did_you_mean(word, names)
    if near:
        return f" ({near})"
    return f" (it has {', '.join(names)})" if names else ""
