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


def test_check_of_a_component_counts_its_checks_and_says_why_some_were_left_out(harness):
    ended = harness("plugin", "check", "sampler:random")

    lines = [line.split() for line in ended.out.splitlines()]
    assert ended.code == 0
    assert lines[0] == ["kind", "name", "passed", "failed", "expected", "skipped"]
    assert lines[2][:4] == ["sampler", "random", "9", "0"]
    assert "the card promises no number of images per class: random" in ended.out


def test_check_of_a_plugin_checks_all_that_it_registers(harness):
    ended = harness("plugin", "check", "hist", "--json")

    records = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.code == 0
    assert {(r["kind"], r["distribution"]) for r in records} == {
        ("loss", "harness-hist"),
        ("recipe", "harness-hist"),
        ("replay", "harness-hist"),
    }
    assert all(r["failed"] == 0 for r in records)
    assert {"check": "loss_is_a_finite_scalar", "status": "passed", "note": ""} in next(
        r["checks"] for r in records if r["kind"] == "loss"
    )


def test_a_finding_is_printed_and_gives_exit_code_1(harness, install):
    install("faulty")

    ended = harness("plugin", "check", "faulty")

    assert ended.code == 1
    assert "finding: loss faulty_scale: state_survives_a_checkpoint: the next loss is" in ended.out


@pytest.mark.parametrize("words", [[], ["hist", "--all"]])
def test_check_wants_one_name_or_all(harness, words):
    ended = harness("plugin", "check", *words)

    assert ended.code == 2
    assert "name a component or a plugin, or pass --all" in ended.err


def test_check_of_an_unknown_name_suggests_near_ones(harness):
    ended = harness("plugin", "check", "histt")

    assert ended.code == 2
    assert "did you mean 'hist'" in ended.err
