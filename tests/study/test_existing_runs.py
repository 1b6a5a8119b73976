"""What is done with runs that the store holds already, and `harness run --jobs`."""

from __future__ import annotations

import pytest

from harness.store.database import query
from harness.store.writer import find_store


def ask(folder, sql: str, store: str = "runs") -> list[tuple[object, ...]]:
    return list(query(find_store(folder / store), sql).rows)


@pytest.mark.slow
def test_each_way_to_treat_existing_runs(folder, run, write):
    write("fine", "0-1")
    words = ("study", "run", "small", "--jobs", 2, "--threads", 1, "--existing")
    assert run(*words, "only-cache").returncode == 1
    assert ask(folder, "FROM attempts") == []
    assert run(*words, "never").returncode == 0

    refused = run(*words, "never")
    cached = run(*words, "only-cache")
    assert refused.returncode == 2
    assert "2 of 2 runs are in the store already" in refused.stdout
    assert "--existing only-missing" in refused.stdout
    assert cached.returncode == 0
    assert len(ask(folder, "FROM attempts")) == 2

    values = ask(folder, "SELECT run_key, part, epoch, name, value FROM metrics ORDER BY ALL")
    assert run(*words, "always").returncode == 0
    assert len(ask(folder, "FROM attempts")) == 4
    assert len(ask(folder, "FROM runs")) == 2
    again = "SELECT DISTINCT run_key, part, epoch, name, value FROM all_metrics ORDER BY ALL"
    assert ask(folder, again) == values


@pytest.mark.slow
def test_run_with_jobs_does_what_run_does_in_its_own_process(folder, run):
    words = ("run", "tiny", "--plugin", "unruly", "--seeds", "0-2", "--threads", 1)

    together = run(*words, "--jobs", 3, "--store", "together")
    alone = run(*words, "--store", "alone")

    assert (together.returncode, alone.returncode) == (0, 0), together.stdout + alone.stdout
    sql = "SELECT run_key, part, epoch, name, value, selected FROM metrics ORDER BY ALL"
    assert ask(folder, sql, "together") == ask(folder, sql, "alone") != []
