"""What is chosen for a machine changes no number of a run; the row says what was chosen."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

import harness


def rows(store, table):
    return [
        row
        for file in sorted((store.root / table).glob("*/*.parquet"))
        for row in pq.read_table(file).to_pylist()
    ]


@pytest.fixture
def twice(toy, plan, execute, store):
    """Return a function that does a small run with and without options, and both rows."""

    def go(**options):
        runs = plan(toy(training__epochs=1), "pml:contrastive")
        execute(runs)
        execute(runs, existing="always", **options)
        return rows(store, "runs")

    return go


def measured(store, attempt):
    return {
        (row["part"], row["epoch"], row["name"]): row["value"]
        for row in rows(store, "metrics")
        if row["attempt_id"] == attempt["attempt_id"]
    }


def outcomes(store, attempt):
    return [
        {name: value for name, value in row.items() if name != "attempt_id"}
        for row in rows(store, "queries")
        if row["attempt_id"] == attempt["attempt_id"]
    ]


def test_backend_and_memory_change_no_number_and_the_backend_is_in_the_row(twice, store):
    plain, other = twice(backend=harness.build("backend", "faiss"), memory=2**20)

    assert (plain["backend"], other["backend"]) == ("torch", "faiss")
    assert plain["run_key"] == other["run_key"]
    assert measured(store, plain) == measured(store, other)
    assert outcomes(store, plain) == outcomes(store, other)
