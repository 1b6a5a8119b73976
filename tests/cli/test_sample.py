import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_sample_answers_where_there_is_no_store(harness):
    ended = harness("query", "SELECT count(*) FROM runs", "--sample", "--format", "json")

    assert ended.code == 0
    ((count,),) = json.loads(ended.out)["rows"]
    assert count > 50


def test_the_sample_has_a_leaderboard_with_intervals(harness):
    ended = harness("leaderboard", "omniglot_small", "--sample", "--format", "json")

    assert ended.code == 0
    (board,) = json.loads(ended.out)["boards"]
    assert len(board["rows"]) >= 14


@pytest.mark.parametrize(
    "words",
    [("compare", "hist[tuned]", "proxy_anchor[tuned]"), ("runs",), ("leaderboard",)],
    ids=lambda w: w[0],
)
def test_every_reader_of_results_reads_the_sample(harness, words):
    assert harness(*words, "--sample").code == 0


def test_two_stores_at_once_are_refused(harness):
    ended = harness("query", "SELECT 1", "--sample", "--store", "runs")

    assert ended.code == 2
    assert "--sample and --store" in ended.err


def test_the_page_of_the_reality_check_shows_the_board_of_the_sample(harness):
    study = ROOT / "studies" / "omniglot_reality_check.yaml"

    ended = harness("leaderboard", "--sample", "--study", study, "--format", "md")

    assert ended.code == 0
    assert f"\n\n{ended.out}\n" in (ROOT / "docs" / "reality_check.md").read_text()
