import csv
import io
import json
from datetime import datetime
from decimal import Decimal

import pytest

from harness.report.tables import STYLES, cell_text, render
from harness.store.database import Table

TABLE = Table(
    ("method", "map_at_r", "seeds"),
    (("alpha|beta", 0.123456789, 3), ("100%_&", None, 10)),
)


def test_text_is_aligned_with_numbers_to_the_right():
    assert render(TABLE, "table").splitlines() == [
        "method      map_at_r  seeds",
        "──────────  ────────  ─────",
        "alpha|beta    0.1235      3",
        "100%_&                   10",
    ]


def test_csv_has_full_precision_and_an_empty_null():
    found = list(csv.reader(io.StringIO(render(TABLE, "csv"))))

    assert found == [
        ["method", "map_at_r", "seeds"],
        ["alpha|beta", "0.123456789", "3"],
        ["100%_&", "", "10"],
    ]


def test_json_is_one_object():
    assert json.loads(render(TABLE, "json")) == {
        "schema_version": 1,
        "columns": ["method", "map_at_r", "seeds"],
        "rows": [["alpha|beta", 0.123456789, 3], ["100%_&", None, 10]],
    }


def test_markdown_escapes_bars():
    assert render(TABLE, "md").splitlines() == [
        "| method | map_at_r | seeds |",
        "| --- | ---: | ---: |",
        "| alpha\\|beta | 0.1235 | 3 |",
        "| 100%_& |  | 10 |",
    ]


def test_latex_escapes_its_special_characters():
    found = render(TABLE, "latex")

    assert r"\begin{tabular}{lrr}" in found
    assert r"100\%\_\& &  & 10 \\" in found


@pytest.mark.parametrize("style", STYLES)
def test_no_rows_and_no_columns_print(style: str):
    assert "method" in render(Table(("method",), ()), style)
    assert isinstance(render(Table((), ()), style), str)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5000"),
        (0.0, "0.0000"),
        (60.04, "60.0"),
        (1e-6, "1.000e-06"),
        (1.5e9, "1.500e+09"),
        (float("nan"), "nan"),
        (True, "True"),
        (None, ""),
        ("two\nlines", "two lines"),
        (datetime(2024, 1, 2, 3, 4, 5, 678), "2024-01-02 03:04:05"),  # noqa: DTZ001
        ([{"name": "loss", "value": 1.0}], '[{"name": "loss", "value": 1.0}]'),
        (Decimal("1.50"), "1.50"),
    ],
)
def test_a_cell_for_people(value: object, text: str):
    assert cell_text(value) == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (datetime(2024, 1, 2), "2024-01-02T00:00:00+00:00"),  # noqa: DTZ001
        ({"a": float("inf")}, {"a": None}),
        ((1, "x"), [1, "x"]),
        (b"x", "b'x'"),
    ],
)
def test_a_value_in_json(value: object, expected: object):
    rows = json.loads(render(Table(("x",), ((value,),)), "json"))["rows"]

    assert rows == [[expected]]
