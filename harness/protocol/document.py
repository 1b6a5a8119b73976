"""Protocols as files and as values: load, dump, digest, difference, change."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.documents import (
    Document,
    KeyPath,
    digest_of,
    dump_yaml,
    read,
    validate,
)
from harness.errors import HarnessError, did_you_mean
from harness.protocol.schema import Added, Protocol, Section, full_path

FOLDER = Path("protocols")
OUTSIDE_DIGEST = frozenset({"summary", "paper", "expected", "caveats", "seeds"})
"""Documentation, and how often a run is repeated: they change no number."""
EXTRAS = ("evaluation.diagnostics",)
"""What is measured besides: it changes no number either, so it is outside and always open."""


class Difference(NamedTuple):
    """A field in which two protocols differ; None where one lacks it."""

    path: str
    left: Any
    right: Any


def load(path: str | Path) -> Protocol:
    """Read a protocol from a file, or by its bare name from the folder `protocols`.

    Raises:
        HarnessError: There is no such file, or it is not a protocol; one line per problem.
    """
    document = read(_locate(Path(path)))
    protocol = validate(Protocol, document)
    stem = Path(document.source).stem
    if protocol.name != stem:
        raise HarnessError(
            f"{document.where(('name',))}name: {protocol.name!r} is not the file's name {stem!r}",
            hint="rename the file or the protocol",
        )
    return protocol


def _locate(path: Path) -> Path:
    by_name = FOLDER / f"{path.name.removesuffix('.yaml')}.yaml"
    bare = path.name == str(path)
    if path.is_file() or (path.exists() and not (bare and by_name.is_file())):
        return path  # a folder is left to the reader, which says so
    if bare and by_name.is_file():
        return by_name
    folders = {FOLDER} if bare else {path.parent, FOLDER}
    known = {file.stem: str(file) for folder in folders for file in folder.glob("*.yaml")}
    near = did_you_mean(path.stem, known)
    listed = f"there are {', '.join(sorted(known.values()))}" if known else "check the path"
    raise HarnessError(f"{path}: no such protocol file", hint=near or listed)


def dump(protocol: Protocol) -> str:
    """Return YAML that `load` reads back to an equal protocol."""
    return dump_yaml(protocol.model_dump(mode="json"))


def content(protocol: Protocol) -> dict[str, Any]:
    """Return what determines the numbers: everything but documentation and seeds."""
    values = {k: v for k, v in _content(protocol).items() if k not in OUTSIDE_DIGEST}
    for path in EXTRAS:
        section, name = path.split(".")
        del values[section][name]
    values["open"] = sorted(set(protocol.open))
    return values


def _content(value: Any) -> Any:  # noqa: ANN401 - plain data
    """Return plain data without the fields that were added later and say nothing."""
    if isinstance(value, Section):
        told = [name for name in type(value).model_fields if not _silent(value, name)]
        return {name: _content(getattr(value, name)) for name in told}
    if isinstance(value, Mapping):
        return {key: _content(item) for key, item in value.items()}
    return [_content(item) for item in value] if isinstance(value, tuple | list) else value


def _silent(section: Section, name: str) -> bool:
    field = type(section).model_fields[name]
    return Added() in field.metadata and getattr(section, name) == field.default


def digest(protocol: Protocol) -> str:
    """Return the SHA-256 of a protocol's content, 64 hex digits.

    Defaults are part of it: two files that say the same, one of them by leaving a key out, have
    one digest, and a default that changes in a new version of the schema changes it. A field
    marked `Added` counts once it says something else than its default.
    """
    return digest_of(content(protocol))


def is_open(protocol: Protocol, path: str) -> bool:
    """Return whether the protocol leaves a field, or one of its parents, to the method."""
    keys = full_path(path)
    opened = [full_path(pattern) for pattern in (*protocol.open, *EXTRAS)]
    return any(keys[: len(pattern)] == pattern for pattern in opened)


def with_values(protocol: Protocol, values: Mapping[str, Any]) -> Protocol:
    """Return the protocol with the fields at dotted paths replaced, checked again.

    Parents are set before what lies below them, whatever the order of `values`.

    Raises:
        HarnessError: A path names no field, or a value does not fit.
    """
    data = protocol.model_dump(mode="json")
    for path in sorted(values, key=full_path):
        _set(data, full_path(path), copy.deepcopy(values[path]))
    return validate(Protocol, Document("", data))


def _set(data: dict[str, Any], path: KeyPath, value: object) -> None:
    """Write a value into nested data, making the mappings on the way."""
    *parents, last = path
    place: Any = data
    for key in parents:
        place = _child(place, key)
    if isinstance(place, list):
        place[_index(place, last)] = value
    else:
        place[last] = value


def _child(place: Any, key: str | int) -> Any:  # noqa: ANN401 - plain data
    if isinstance(place, list):
        return place[_index(place, key)]
    if not isinstance(place.get(key), dict | list):
        place[key] = {}
    return place[key]


def _index(items: list[Any], key: str | int) -> int:
    if not str(key).isdigit() or int(key) >= len(items):
        raise HarnessError(f"no item {key!r} in a list of {len(items)}", hint="count from 0")
    return int(key)


def diff(left: Protocol, right: Protocol) -> tuple[Difference, ...]:
    """Return the fields in which two protocols differ, in the order of the schema."""
    one, two = _leaves(left.model_dump(mode="json")), _leaves(right.model_dump(mode="json"))
    return tuple(
        Difference(path, one.get(path), two.get(path))
        for path in {**one, **two}
        if one.get(path) != two.get(path)
    )


def value_at(protocol: Protocol, path: str) -> Any:  # noqa: ANN401 - any field
    """Return the plain value of a field; None where a parent of it is not set."""
    value: Any = protocol.model_dump(mode="json")
    for key in full_path(path):
        if isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value


def _leaves(value: Any, path: str = "") -> dict[str, Any]:  # noqa: ANN401 - plain data
    """Return plain values by dotted path; lists of mappings are opened, other lists are values."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not value:
        return {path: value}
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= _leaves(item, f"{path}.{key}" if path else str(key))
    return found
