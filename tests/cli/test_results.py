import csv
import json

import pytest


def test_query_answers_sql_over_the_views(rehearsed):
    ended = rehearsed.harness("query", "SELECT method, smoke FROM results", "--format", "csv")

    assert ended.code == 0
    assert list(csv.reader(ended.out.splitlines())) == [
        ["method", "smoke"],
        ["contrastive", "True"],
    ]


def test_query_reads_a_statement_from_a_file(rehearsed):
    (rehearsed.folder / "count.sql").write_text("SELECT count(*) AS runs FROM runs")

    answer = json.loads(rehearsed.harness("query", "-f", "count.sql", "--format", "json").out)

    assert (answer["columns"], answer["rows"]) == (["runs"], [[1]])


def test_query_describes_every_view(rehearsed):
    described = json.loads(rehearsed.harness("query", "--describe", "--format", "json").out)

    assert {"runs", "results", "metrics", "epochs", "queries"} <= {r[0] for r in described["rows"]}


def test_runs_lists_attempts_by_how_they_ended(rehearsed):
    found = json.loads(rehearsed.harness("runs", "--format", "json").out)
    failed = json.loads(rehearsed.harness("runs", "--status", "failed", "--format", "json").out)

    assert len(found["rows"]) == 1
    assert failed["rows"] == []


def test_log_shows_facts_metrics_and_the_curve_of_a_run(rehearsed):
    key = rehearsed.ended.out.splitlines()[-1].split()[-1]

    shown = rehearsed.harness("log", key[:6])
    record = json.loads(rehearsed.harness("log", key[:6], "--json").out)

    assert "loss contrastive harness-pml" in shown.out
    assert "precision_at_1" in shown.out
    assert record["attempt"]["run_key"] == key
    assert record["epochs"][0]["epoch"] == 1


def test_a_rehearsal_stays_off_the_leaderboard_unless_asked_for(rehearsed):
    plain = rehearsed.harness("leaderboard", "digits")
    asked = rehearsed.harness("leaderboard", "digits", "--smoke")

    assert "contrastive" not in plain.out
    assert "rehearsals (--smoke): 1" in plain.out
    assert "contrastive" in asked.out


@pytest.mark.parametrize("style", ["table", "csv", "json", "md", "latex"])
def test_every_format_is_known_to_every_command(rehearsed, style):
    for words in (("runs",), ("query", "SELECT 1 AS one"), ("leaderboard", "--smoke")):
        assert rehearsed.harness(*words, "--format", style).code == 0


def test_doctor_reports_every_section(rehearsed):
    ended = rehearsed.harness("doctor")

    titles = [line for line in ended.out.splitlines() if not line.startswith(" ")]
    assert ended.code == 0
    assert titles == ["environment", "settings", "plugins", "data sets", "weights", "store"]
    assert "store         runs  (from default)" in ended.out
    assert "digits     found  1,797 images" in ended.out
    assert "cub200     missing  " in ended.out
    assert "attempts       1" in ended.out


def test_doctor_as_json_is_one_object_per_section(rehearsed):
    lines = rehearsed.harness("doctor", "--json").out.splitlines()

    assert [json.loads(line)["section"] for line in lines][:2] == ["environment", "settings"]
