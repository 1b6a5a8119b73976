"""Let through one SELECT and nothing else; turn DuckDB's errors into one readable line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb

from harness.errors import HarnessError, did_you_mean
from harness.store.schema import TABLES
from harness.store.views import HEADLINES, VIEW_DOCS

_SELECTING = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "CTE_NODE", "RECURSIVE_CTE_NODE"})
_TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "json_each", "json_tree"})
_ONLY_SELECT = "only one SELECT is possible here: the store is read, never written"


def check_selects(sql: str, *, parser: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Return the names of the tables a statement reads.

    DuckDB's own syntax tree is checked, not the text: a writing statement may hide behind WITH
    or EXPLAIN ANALYZE. `parser` takes it apart and executes nothing.

    Raises:
        HarnessError: It is not one SELECT over views.
    """
    tables: set[str] = set()
    for node in _nodes(_syntax_tree(sql, parser)):
        kind = str(node.get("type"))
        if kind.endswith("_NODE") and kind not in _SELECTING:
            raise HarnessError(_ONLY_SELECT)
        if kind == "TABLE_FUNCTION":
            _check_table_function(str(node["function"]["function_name"]))
        if kind == "BASE_TABLE":
            tables.add(str(node["table_name"]).lower())
    return frozenset(tables)


def _syntax_tree(sql: str, parser: duckdb.DuckDBPyConnection) -> Sequence[object]:
    answer = parser.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()
    tree = json.loads(answer[0][0])
    if tree["error"]:
        if tree["error_type"] == "parser":
            raise HarnessError(f"SQL: {tree['error_message']}")
        hint = "write PIVOT … ON column IN (…)" if "pivot" in sql.lower() else None
        raise HarnessError(_ONLY_SELECT, hint=hint)
    if len(tree["statements"]) != 1:
        raise HarnessError(f"{_ONLY_SELECT}; found {len(tree['statements'])} statements")
    return tree["statements"]


def _nodes(tree: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


def _check_table_function(name: str) -> None:
    if name not in _TABLE_FUNCTIONS:
        raise HarnessError(f"{name}() is not available here", hint=_views_hint())


def readable(error: duckdb.Error) -> HarnessError:
    """Return an error of one line that says what was meant, where a name is nearly right."""
    message = str(error)
    if match := re.search(r"Table with name (\S+) does not exist", message):
        name = match.group(1)
        return HarnessError(
            f"no view {name!r}", hint=did_you_mean(name, VIEW_DOCS) or _views_hint()
        )
    if match := re.search(r'Referenced column "([^"]+)" not found', message):
        name = match.group(1)
        known = {*HEADLINES, *(column for table in TABLES.values() for column in table)}
        known |= set(re.findall(r'"([^"]+)"', message.partition("Candidate bindings:")[2]))
        return HarnessError(f"no column {name!r}", hint=did_you_mean(name, known) or None)
    if "pytz" in message:
        return HarnessError("a column has a time zone", hint="cast it with ::TIMESTAMP")
    return HarnessError(f"SQL: {_first_sentence(message)}")


def _views_hint() -> str:
    return f"the views are {', '.join(VIEW_DOCS)}"


def _first_sentence(message: str) -> str:
    text = message.split("\n\nLINE ", maxsplit=1)[0].split("\tCandidate", maxsplit=1)[0]
    return re.sub(r"\s+", " ", text).strip()
