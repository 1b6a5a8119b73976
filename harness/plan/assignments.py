"""`path=value` as people type it, checked against what the protocol leaves open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.documents import canonical_json, parse_value
from harness.errors import HarnessError
from harness.protocol import Protocol, full_path, is_open, value_at, wrong_with_path


def parse_assignments(texts: Sequence[str], *, option: str) -> dict[str, Any]:
    """Return values by full dotted path.

    Raises:
        HarnessError: A text is not `path=value`, names no field, or repeats a path.
    """
    values: dict[str, Any] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        path = path.strip()
        if not equals or not path:
            raise HarnessError(
                f"{option} {text!r} is not PATH=VALUE", hint=f"type {option} loss.NAME=VALUE"
            )
        wrong = wrong_with_path(path)
        if wrong:
            raise HarnessError(f"{option}: {wrong}")
        path = ".".join(full_path(path))
        if path in values:
            raise HarnessError(f"{option} {short_path(path)} is given twice", hint="keep one")
        values[path] = parse_value(value, source=f"{option} {short_path(path)}")
    return values


def short_path(path: str) -> str:
    """Return a path as people type it: `loss.params.tau` is `loss.tau`."""
    kind, _, rest = path.partition(".params.")
    short = f"{kind}.{rest}"
    return short if rest and ".".join(full_path(short)) == path else path


def show(value: object) -> str:
    """Return a value in one word: text bare, everything else as JSON."""
    return value if isinstance(value, str) else canonical_json(value)


def refuse_closed(
    protocol: Protocol, values: Mapping[str, Any], *, who: str, instead: str = ""
) -> None:
    """Check that values touch open fields only, or repeat what the protocol says.

    Raises:
        HarnessError: A field is fixed; the hint is `instead`, or shows how to deviate and what
            is open.
    """
    for path, value in values.items():
        if not is_open(protocol, path) and not same(value_at(protocol, path), value):
            fixed = show(value_at(protocol, path))
            short = short_path(path)
            raise HarnessError(
                f"{who} {short}={show(value)}: protocol {protocol.name} fixes {short} ({fixed})",
                hint=instead
                or f"--deviate {short}={show(value)} runs it, marked as a deviation; "
                f"open here: {', '.join(protocol.open) or 'nothing'}",
            )


def same(left: object, right: object) -> bool:
    """Return whether two plain values are equal, whichever way a number is written."""
    return canonical_json(left) == canonical_json(right)
