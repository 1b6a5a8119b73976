import json

import pytest

from harness.store.schema import TABLES
from harness.store.writer import open_store
from harness.testing.rows import add_scores


@pytest.fixture
def filled(harness, tmp_path):
    """The command line in a folder with a store of four runs, and the store."""
    store = open_store(tmp_path / "runs")
    add_scores(store, "alpha", [[0.2], [0.4]], first=1)
    add_scores(store, "beta", [[0.5], [0.7]], first=10)
    return harness, store


def count(harness, *words):
    sql = "SELECT method, count(*) FROM results GROUP BY ALL ORDER BY ALL"
    return json.loads(harness("query", sql, *words, "--format", "json").out)["rows"]


def test_compact_makes_few_files_and_changes_no_answer(filled):
    harness, store = filled

    ended = harness("store", "compact", "--json")

    assert ended.code == 0
    assert json.loads(ended.out)["attempts merged"] == 4
    assert count(harness) == [["alpha", 2], ["beta", 2]]
    assert len(list(store.root.rglob("*.parquet"))) == len(TABLES)
    assert "merged attempts  4" in harness("store", "status").out


def test_verify_names_a_damaged_file_and_ends_with_one(filled):
    harness, store = filled
    path = next((store.root / "metrics").rglob("*.parquet"))
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])

    sound = harness("store", "path")
    ended = harness("store", "verify")

    assert sound.out.strip() == str(store.root)
    assert ended.code == 1
    assert path.name in ended.out


def test_gc_deletes_leftovers_and_nothing_else(filled):
    harness, store = filled
    leftover = store.root / "runs" / ".x.parquet.12ab.tmp"
    leftover.touch()

    young = harness("store", "gc")
    old = harness("store", "gc", "--older-than", "0")

    assert "0 files deleted" in young.out
    assert "1 files deleted" in old.out
    assert not leftover.exists()
    assert count(harness) == [["alpha", 2], ["beta", 2]]


def test_export_copies_the_runs_that_fit(filled):
    harness, _ = filled

    ended = harness("store", "export", "copy", "--where", "method = 'beta'")

    assert ended.code == 0, ended.err
    assert count(harness, "--store", "copy") == [["beta", 2]]
    assert harness("store", "verify", "--store", "copy").code == 0


@pytest.mark.parametrize(
    ("where", "said"),
    [("method = 'gamma'", "no run in runs fits"), ("methd = 'beta'", "no column 'methd'")],
)
def test_an_export_of_nothing_is_refused_and_leaves_nothing(filled, tmp_path, where, said):
    harness, _ = filled

    ended = harness("store", "export", "copy", "--where", where)

    assert ended.code == 2
    assert said in ended.err
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    "words", [("run", "digits"), ("run", "digits", "--jobs", "1")], ids=["run", "pool"]
)
def test_whoever_writes_to_a_store_of_many_files_folds_them_first(filled, monkeypatch, words):
    harness, store = filled
    monkeypatch.setattr("harness.store.compaction.FOLD_FROM", 4)
    before = count(harness)

    ended = harness(*words, "--plugin", "contrastive", "--existing", "only-cache")

    assert ended.code == 1
    assert len(list((store.root / "merged" / "runs").glob("*.parquet"))) == 1
    assert count(harness) == before
