import json

import pytest


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
    "words", [("compare", "hist", "proxy_anchor"), ("runs",), ("leaderboard",)], ids=lambda w: w[0]
)
def test_every_reader_of_results_reads_the_sample(harness, words):
    assert harness(*words, "--sample").code == 0


def test_two_stores_at_once_are_refused(harness):
    ended = harness("query", "SELECT 1", "--sample", "--store", "runs")

    assert ended.code == 2
    assert "--sample and --store" in ended.err
