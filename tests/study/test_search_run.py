"""A study with a search as people do it: one command, killed, and the same command again."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from harness.store.database import query
from harness.store.writer import find_store

COMMAND = ("study", "run", "small", "--jobs", 2, "--threads", 1)

pytestmark = pytest.mark.slow


def rows(store: Path) -> list[tuple[object, ...]]:
    """Return what came of each run and each query, but for times."""
    found = find_store(store)
    tables = {
        "attempts": "SELECT DISTINCT run_key, method, search, trial, num_trials, settings, "
        "status, fold, seed, leaderboard_eligible FROM attempts WHERE status <> 'interrupted'",
        "metrics": "SELECT run_key, part, epoch, name, value, selected FROM metrics",
    }
    return [
        (name, *row)
        for name, sql in tables.items()
        for row in query(found, f"{sql} ORDER BY ALL").rows
    ]


@pytest.fixture
def whole(run, folder, write_search) -> Path:
    """The store of a study that nobody disturbed."""
    ended = run(*COMMAND, "--store", "whole")
    assert ended.returncode == 0, ended.stdout
    return folder / "whole"


def test_a_search_that_is_killed_ends_as_one_that_was_left_alone(whole, start, run, folder):
    for seconds in (4, 7, 9):
        driver = start(*COMMAND, "--store", "killed")
        time.sleep(seconds)
        os.killpg(driver.pid, signal.SIGKILL)
        driver.communicate()
    last = run(*COMMAND, "--store", "killed")

    assert last.returncode == 0, last.stdout
    assert rows(folder / "killed") == rows(whole)
    _check_table(run)


def _check_table(run) -> None:
    board = run("leaderboard", "tuned", "--store", "killed", "--format", "csv")
    assert "fine[tuned]" in board.stdout
    assert "trial 1" not in board.stdout
    status = run("study", "status", "small", "--store", "killed")
    assert status.returncode == 0, status.stdout
    again = run(*COMMAND, "--store", "killed")
    assert "28 finished before" in again.stdout, again.stdout
    found = [line.split() for line in again.stdout.splitlines() if " 5/5 " in line]
    assert [words[1] for words in found] == ["fine", "odd"], again.stdout


def test_two_workers_share_a_search(whole, start, run, folder):
    command = ("worker", "small", "--threads", 1, "--store", "shared")
    one, other = (start(*command) for _ in range(2))
    outputs = [worker.communicate(timeout=300)[0] for worker in (one, other)]

    assert (one.returncode, other.returncode) == (0, 0), "\n".join(outputs)
    assert set(rows(folder / "shared")) == set(rows(whole))


def test_shards_are_the_study(whole, run, folder):
    for index in range(2):
        ended = run("worker", "small", "--shard", f"{index}/2", "--store", "parts")
        assert ended.returncode == 0, ended.stdout

    assert rows(folder / "parts") == rows(whole)


def test_tune_is_such_a_study(run, folder, write_search):
    words = ("tune", "tuned", "--plugin", "unruly", "--trials", 3, "--seeds", 0, "--folds", 0)

    ended = run(*words, "--store", "tuned")

    assert ended.returncode == 0, ended.stdout
    assert "nothing to search, no trials: unruly" in ended.stdout
