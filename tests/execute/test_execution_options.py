"""What is chosen for a machine changes no number of a run; the row says what was chosen."""

from __future__ import annotations

from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import torch

import harness
from harness.execute import ExecutionOptions
from harness.execute.assembly import assemble, open_table


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


@pytest.mark.slow
def test_a_compiled_backbone_gives_the_same_numbers_but_for_rounding(twice, store):
    plain, other = twice(compile=True)

    assert (plain["compiled"], other["compiled"]) == (False, True)
    assert plain["run_key"] == other["run_key"]
    expected = measured(store, plain)
    assert measured(store, other) == pytest.approx(expected, abs=0.02)
    assert {name: value for name, value in expected.items() if name[1] == 0} == pytest.approx(
        {name: value for name, value in measured(store, other).items() if name[1] == 0}, abs=1e-3
    )


def test_a_run_asked_to_compile_asks_torch_to_and_keeps_its_checkpoint_names(
    toy, plan, registry, tmp_path
):
    (run,) = plan(toy(training__epochs=1), "pml:contrastive")
    options = ExecutionOptions(data_root=tmp_path, compile=True)
    table = open_table(run, options)

    parts = assemble(run, table, device=torch.device("cpu"), options=options)

    backbone = parts.learner.encoder.backbone
    plain = assemble(
        run, table, device=torch.device("cpu"), options=replace(options, compile=False)
    )
    assert backbone._compiled_call_impl is not None  # noqa: SLF001 - torch offers no other sign
    assert backbone.state_dict().keys() == plain.learner.encoder.backbone.state_dict().keys()


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
