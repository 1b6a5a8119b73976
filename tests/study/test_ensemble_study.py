"""A study that asks for ensembles has them when it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.store.database import query
from harness.store.writer import find_store

STUDY = """\
schema_version: 1
name: joined
summary: One method, tuned on two folds, then two seeds.
protocols: [folded]
methods:
  - {name: fine, plugins: [unruly], space: {loss.scale: {low: 0.1, high: 10, log: true}}}
seeds: 0-1
search: {trials: 2}
ensembles: true
"""
VALUES = (
    ("split: {scheme: official}", "split: {scheme: mlrc, folds: 2}"),
    ("selection: {rule: last}", "selection: {rule: best_val}"),
    ("batch_size: 8", "batch_size: 4"),
    ("name: tiny", "name: folded"),
)


@pytest.fixture
def ended(folder: Path, run) -> str:
    """The output of a study that was done in one go."""
    text = (folder / "protocols" / "tiny.yaml").read_text()
    for old, new in VALUES:
        text = text.replace(old, new)
    (folder / "protocols" / "folded.yaml").write_text(text)
    (folder / "studies" / "joined.yaml").write_text(STUDY)
    done = run("study", "run", "joined", "--jobs", 2, "--threads", 1)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
def test_a_study_joins_the_folds_of_each_seed_and_keeps_nothing_of_its_trials(folder, run, ended):
    store = find_store(folder / "runs")
    columns = "method, seed, kind, num_members, embedding_dim"
    sql = f"SELECT DISTINCT {columns} FROM ensembles ORDER BY ALL"
    joined = query(store, sql).rows
    finals = query(store, "SELECT attempt_id FROM runs WHERE trial IS NULL ORDER BY 1").rows

    again = run("study", "run", "joined")

    assert "ensembles  2 new\n" in ended
    assert joined == tuple(
        ("fine[tuned]", seed, kind, 2, dim)
        for seed in (0, 1)
        for kind, dim in (("concatenated", 16), ("separated", 8))
    )
    kept = sorted(path.stem for path in (store.root / "embeddings").rglob("*.npz"))
    assert kept == [attempt for (attempt,) in finals]
    assert "ensembles  2 known\n" in again.stdout
    assert query(store, sql).rows == joined
