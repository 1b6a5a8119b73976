"""YAML files as plain data that remembers where each value was written.

The reader accepts the part of YAML 1.2 that means one thing to everybody: mappings, lists and
scalars. `1e-4` is a number. What YAML 1.1 and 1.2 read differently (`no`, `on`, `10:30`, `012`) is
refused when unquoted, and so are anchors, merges, tags and keys that occur twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.errors import HarnessError

if TYPE_CHECKING:
    from yaml import Event, Mark

Key = str | int
KeyPath = tuple[Key, ...]

_NULL = re.compile(r"|~|null|Null|NULL")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"([-+]?)\.(inf|Inf|INF|nan|NaN|NAN)")
_AMBIGUOUS = re.compile(
    r"(?i:yes|no|on|off)"  # booleans in YAML 1.1 only
    r"|[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?"  # base 60 in YAML 1.1 only
    r"|[-+]?0[0-9_]+"  # octal in YAML 1.1, decimal in 1.2
    r"|[-+]?0[xob][0-9a-fA-F_]+"  # other bases: not every reader has all of them
    r"|[-+]?[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?"  # digit groups in YAML 1.1 only
)
_MAX_DEPTH = 40
_MAX_DIGITS = 400


class Position(NamedTuple):
    """Line and column of a value in its file, both from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says.

    Attributes:
        source: Name of the file for messages, or of what the values belong to.
        data: Plain mappings, lists and scalars.
        positions: Where each key (or list item) was written.
    """

    source: str
    data: dict[str, Any]
    positions: Mapping[KeyPath, Position] = field(default_factory=dict[KeyPath, Position])

    def where(self, path: KeyPath) -> str:
        """Return `file:line:column: ` of the nearest written parent of a path.

        Without positions only the source is named; without a source the answer is empty.
        """
        if not self.positions:
            return f"{self.source}: " if self.source else ""
        while path and path not in self.positions:
            path = path[:-1]
        line, column = self.positions.get(path, Position(1, 1))
        return f"{self.source}:{line}:{column}: "


def read(path: Path) -> Document:
    """Read a YAML file whose top level is a mapping.

    Raises:
        HarnessError: The file is missing, is not UTF-8, or is not YAML as described above.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise HarnessError(f"{path}: no such file", hint="check the path") from None
    except IsADirectoryError:
        raise HarnessError(f"{path}: is a folder", hint="name a file inside it") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise HarnessError(f"{path}: cannot be read: {reason}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise HarnessError(
            f"{path}:{line}:{column}: byte 0x{content[error.start]:02x} is not UTF-8",
            hint="save the file as UTF-8",
        ) from None
    return parse(text, source=str(path))


def parse(text: str, *, source: str) -> Document:
    """Read YAML text whose top level is a mapping; messages call it `source`."""
    reader = _Reader(source)
    data = reader.read(text)
    if data is None:
        raise HarnessError(f"{source}:1:1: is empty", hint="it must hold `key: value` lines")
    if not isinstance(data, dict):
        raise HarnessError(
            f"{source}:1:1: must be a mapping, is {describe(data)}",
            hint="write `key: value` lines",
        )
    return Document(source, data, reader.positions)


def parse_value(text: str, *, source: str) -> Any:  # noqa: ANN401 - any YAML value
    """Read one value, as a person types it after `--set path=`: `24`, `true`, `[0.9, 0.99]`."""
    return _Reader(source, inline=True).read(text)


def describe(value: object) -> str:
    """Return a value as a message shows it: short, with containers named rather than printed."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"  # noqa: PLR2004 - fits a line


class _Reader:
    """Builds plain data from parser events, in one pass, noting positions on the way."""

    def __init__(self, source: str, *, inline: bool = False) -> None:
        self.source = source
        self.inline = inline  # one value of a command line: its line and column help nobody
        self.positions: dict[KeyPath, Position] = {}

    def read(self, text: str) -> Any:  # noqa: ANN401 - any YAML value
        import yaml  # delayed: commands that read no YAML start faster

        try:
            events = yaml.parse(text, yaml.SafeLoader)
            data = self._document(events)
        except yaml.MarkedYAMLError as error:
            raise self._syntax_error(error, text) from None
        except yaml.reader.ReaderError as error:
            before = text[: error.position]
            position = Position(before.count("\n") + 1, error.position - before.rfind("\n"))
            raise self._error(position, "holds a character that YAML does not allow") from None
        return data

    def _document(self, events: Iterator[Event]) -> Any:  # noqa: ANN401
        import yaml

        data: Any = None
        seen = False
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if seen:
                    raise self._error(
                        event.start_mark, "starts a second document", hint="keep one per file"
                    )
                seen = True
            elif not isinstance(
                event, yaml.DocumentEndEvent | yaml.StreamStartEvent | yaml.StreamEndEvent
            ):
                data = self._node(event, events, ())
        return data

    def _node(self, event: Event, events: Iterator[Event], path: KeyPath) -> Any:  # noqa: ANN401
        import yaml

        self._check_node(event, path)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(events, path)
        return self._mapping(events, path)

    def _check_node(self, event: Any, path: KeyPath) -> None:  # noqa: ANN401 - stubs lack fields
        import yaml

        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise self._error(mark, "uses an anchor or alias", hint="write the value out")
        if event.tag is not None:
            raise self._error(mark, f"uses the tag {event.tag!r}", hint="remove the tag")
        if len(path) > _MAX_DEPTH:
            raise self._error(mark, f"is nested more than {_MAX_DEPTH} levels deep")

    def _sequence(self, events: Iterator[Event], path: KeyPath) -> list[Any]:
        import yaml

        items: list[Any] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            here = (*path, len(items))
            self.positions[here] = _position(event.start_mark)
            items.append(self._node(event, events, here))
        return items

    def _mapping(self, events: Iterator[Event], path: KeyPath) -> dict[str, Any]:
        import yaml

        items: dict[str, Any] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self._key(event, path)
            here = (*path, key)
            if here in self.positions:
                raise self._error(
                    event.start_mark,
                    f"key {key!r} was already given in line {self.positions[here].line}",
                    hint="keep one of the two",
                )
            self.positions[here] = _position(event.start_mark)
            items[key] = self._node(next(events), events, here)
        return items

    def _key(self, event: Event, path: KeyPath) -> str:
        import yaml

        self._check_node(event, path)
        if not isinstance(event, yaml.ScalarEvent):
            raise self._error(event.start_mark, "a key must be text")
        if event.value == "<<" and event.implicit[0]:
            raise self._error(event.start_mark, "uses a merge key", hint="write the keys out")
        key = self._scalar(event)
        if not isinstance(key, str):
            raise self._error(
                event.start_mark, f"a key must be text, is {describe(key)}", hint="quote it"
            )
        return key

    def _scalar(self, event: Any) -> Any:  # noqa: ANN401 - stubs lack fields
        text: str = event.value
        if not event.implicit[0]:  # quoted, or a block
            return text
        if _AMBIGUOUS.fullmatch(text):
            raise self._error(
                event.start_mark,
                f"{text} is read differently by different YAML versions",
                hint=f"quote it ('{text}'), or write true, false or a plain decimal number",
            )
        if len(text) > _MAX_DIGITS and _FLOAT.fullmatch(text):
            raise self._error(event.start_mark, f"number has {len(text)} digits")
        return plain_scalar(text)

    def _error(
        self, at: Position | Mark | None, message: str, *, hint: str | None = None
    ) -> HarnessError:
        line, column = at if isinstance(at, Position) else _position(at)
        where = self.source if self.inline else f"{self.source}:{line}:{column}"
        return HarnessError(f"{where}: {message}", hint=hint)

    def _syntax_error(self, error: Any, text: str) -> HarnessError:  # noqa: ANN401 - stubs
        mark = error.problem_mark or error.context_mark
        if mark is not None and text[mark.index : mark.index + 1] == "\t":
            return self._error(mark, "a tab cannot indent YAML", hint="use spaces")
        problem = error.problem or error.context or "cannot be parsed"
        return self._error(mark, f"not YAML: {problem}", hint="check indentation and quotes")


def plain_scalar(text: str) -> str | int | float | bool | None:
    """Resolve an unquoted scalar by the core schema of YAML 1.2.

    >>> plain_scalar("1e-4"), plain_scalar("-3"), plain_scalar("true"), plain_scalar("rgb")
    (0.0001, -3, True, 'rgb')
    """
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
        return text[0] in "tT"
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) or _NOT_FINITE.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def reads_as_text(text: str) -> bool:
    """Return whether a scalar means the same text without quotes."""
    return not _AMBIGUOUS.fullmatch(text) and plain_scalar(text) == text


def _position(mark: Mark | None) -> Position:
    return Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
