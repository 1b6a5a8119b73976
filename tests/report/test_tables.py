import csv
import io
import json
from datetime import datetime
from decimal import Decimal

import pytest

from harness.report.leaderboard import leaderboard
from harness.report.tables import STYLES, cell_text, render, render_leaderboard
from harness.store.database import Table
from harness.store.writer import Store, write_attempt
from harness.testing.rows import add_scores, score, toy_run

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


# --- leaderboards ---------------------------------------------------------------------------


@pytest.fixture
def filled(store: Store) -> Store:
    add_scores(store, "alpha", [[0.25], [0.75]], first=1)
    add_scores(store, "beta", [[0.5]], first=10)
    write_attempt(store, toy_run(20, method="beta", seed=1, status="failed", data_digest=None))
    write_attempt(store, toy_run(21, smoke=True), metrics=[score(0.9)])
    return store


def test_a_board_says_what_it_compares_and_what_it_left_out(filled: Store):
    lines = render_leaderboard(leaderboard(filled), "table").splitlines()

    assert lines[0] == "toy v1 (a1b2c3d4, data d4c3b2a1), map_at_r on toys"
    assert lines[2].split()[:5] == ["rank", "method", "map_at_r", "low", "high"]
    assert lines[4].split()[:3] == ["1", "alpha", "0.5000"]
    assert lines[5].split()[:4] == ["2", "beta", "*", "0.5000"]
    assert lines[-2:] == [
        "* over the runs that ended well only.",
        "Left out: rehearsals (--smoke): 1.",
    ]


def test_columns_without_a_value_are_not_shown(filled: Store):
    assert "oracle" not in render_leaderboard(leaderboard(filled), "table")


def test_older_boards_are_announced_and_shown_on_request(filled: Store):
    write_attempt(filled, toy_run(30, protocol_digest="f" * 64), metrics=[score(0.1)])
    found = leaderboard(filled)

    announced = render_leaderboard(found, "table")
    every = render_leaderboard(found, "table", every=True)

    assert announced.startswith("toy v1 (ffffffff")
    assert "Not comparable with these, and not shown:\n  toy v1 (a1b2c3d4" in announced
    assert "0.5000" not in announced
    assert "0.5000" in every


def test_a_leaderboard_in_json_has_every_board(filled: Store):
    found = json.loads(render_leaderboard(leaderboard(filled), "json"))

    ((board,), version) = found["boards"], found["schema_version"]
    assert (version, board["protocol"], board["excluded"]) == (
        1,
        "toy",
        {"rehearsals (--smoke)": 1},
    )
    alpha, beta = board["rows"]
    assert (alpha["rank"], alpha["mean"], alpha["num_seeds"], alpha["complete"]) == (
        1,
        0.5,
        2,
        True,
    )
    assert (beta["low"], beta["num_failed"], beta["complete"]) == (None, 1, False)


def test_a_leaderboard_in_csv_is_a_plain_table(filled: Store):
    first, second, *_ = csv.DictReader(io.StringIO(render_leaderboard(leaderboard(filled), "csv")))

    assert (first["method"], float(first["map_at_r"])) == ("alpha", 0.5)
    assert (second["method"], second["low"], second["failed"]) == ("beta", "", "1")
