from dataclasses import fields
from pathlib import Path

import pytest

from harness.store.schema import (
    TABLES,
    MetricRow,
    RunRow,
    columns_of,
    finite_or_none,
    schema_of,
)

GOLDEN = Path(__file__).parent / "schema_v1.txt"


def written_down() -> str:
    blocks = []
    for table in TABLES:
        lines = [
            f"{field.name}: {field.type}{'' if field.nullable else ' not null'}"
            for field in schema_of(table)
        ]
        blocks.append("\n".join([f"[{table}]", *lines]))
    return "\n\n".join(blocks) + "\n"


def test_tables_are_those_that_were_released():
    """A change of type or meaning needs a new SCHEMA_VERSION; a new column must be nullable."""
    assert written_down() == GOLDEN.read_text(encoding="utf-8")


def test_a_row_class_and_its_table_have_the_same_columns():
    assert list(columns_of(RunRow)) == [field.name for field in fields(RunRow)]


def test_a_column_is_nullable_exactly_where_the_type_admits_none():
    columns = columns_of(MetricRow)

    assert {name for name, column in columns.items() if column.nullable} == {"value"}


@pytest.mark.parametrize("table", TABLES)
def test_every_column_says_what_it_means(table: str):
    assert all(column.doc.endswith(".") or "…" in column.doc for column in TABLES[table].values())


def test_what_is_not_finite_becomes_none():
    values = [finite_or_none(value) for value in (0.5, float("nan"), float("inf"))]

    assert values == [0.5, None, None]
