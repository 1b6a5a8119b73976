"""What authors of plugins type: `harness plugin …`."""

import json
from pathlib import Path

import pytest

GOLDENS = Path(__file__).parents[1] / "golden"


@pytest.fixture
def spoilt(tmp_path):
    cases = json.loads((GOLDENS / "hist.json").read_text())[:2]
    cases[1]["expected"]["loss"] = 1.0
    file = tmp_path / "spoilt.json"
    file.write_text(json.dumps(cases))
    return file


def test_replay_counts_cases_by_method_and_dtype(harness):
    ended = harness("plugin", "replay", str(GOLDENS / "hist.json"))

    lines = [line.split() for line in ended.out.splitlines()]
    assert ended.code == 0
    assert lines[0] == ["method", "dtype", "replayed", "passed"]
    assert lines[2:] == [
        ["hist", "float64", "9", "9"],
        ["hist", "float32", "9", "9"],
        ["total", "float64", "9", "9"],
        ["total", "float32", "9", "9"],
    ]


def test_replay_names_every_number_that_differs_and_exits_with_1(harness, spoilt):
    ended = harness("plugin", "replay", str(spoilt))

    assert ended.code == 1
    assert "mismatch in hist, float64: " in ended.out
    assert "/loss: off by" in ended.out


def test_replay_as_json_is_one_object_per_method_and_dtype(harness, spoilt):
    ended = harness("plugin", "replay", str(spoilt.parent), "--json")

    records = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.code == 1
    assert [(r["dtype"], r["replayed"], r["passed"]) for r in records] == [
        ("float64", 2, 1),
        ("float32", 2, 1),
    ]
    assert records[0]["mismatches"][0]["place"].endswith("/loss")


@pytest.mark.parametrize(
    ("name", "problem"), [("missing", "there is no"), (".", "no golden files in")]
)
def test_replay_of_nothing_is_an_error(harness, tmp_path, name, problem):
    ended = harness("plugin", "replay", str(tmp_path / name))

    assert ended.code == 2
    assert problem in ended.err


def test_plugin_list_is_the_listing_of_plugins(harness):
    assert harness("plugin", "list").out == harness("plugins").out
