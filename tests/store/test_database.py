from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.store.database import connect, describe_views, query
from harness.store.inventory import take_inventory
from harness.store.schema import TABLES, schema_of
from harness.store.views import VIEW_DOCS
from harness.store.writer import Store, finished_keys, open_store, write_attempt
from harness.testing.rows import DIGEST, add_scores, score, toy_epoch, toy_run

README_QUERY = "SELECT method, avg(map_at_r) FROM results GROUP BY method ORDER BY method"


def rows(store: Store, sql: str) -> list[tuple[object, ...]]:
    return list(query(store, sql).rows)


# --- views ----------------------------------------------------------------------------------


def test_the_first_question_of_the_readme_has_an_answer(store: Store):
    add_scores(store, "alpha", [[0.25], [0.75]], first=1)
    add_scores(store, "beta", [[0.5]], first=10)

    assert rows(store, README_QUERY) == [("alpha", 0.5), ("beta", 0.5)]


def test_of_one_run_key_the_first_success_counts(store: Store):
    for number, status in enumerate(("failed", "ok", "ok", "interrupted"), start=1):
        write_attempt(
            store, toy_run(number, run_key="key", status=status), metrics=[score(number)]
        )

    assert rows(store, "SELECT attempt_id, map_at_r FROM results") == [(f"{2:032x}", 2.0)]
    assert rows(store, "SELECT value FROM metrics") == [(2.0,)]
    assert rows(store, "SELECT count(*) FROM attempts") == [(4,)]
    assert rows(store, "SELECT status, recovered FROM failures ORDER BY status") == [
        ("failed", True),
        ("interrupted", True),
    ]
    assert finished_keys(store) == {"key"}


def test_equal_ends_are_settled_by_the_attempt_id(store: Store):
    ended_at = toy_run(1).ended_at
    for number in (2, 1):
        write_attempt(store, toy_run(number, run_key="key", ended_at=ended_at))

    assert rows(store, "SELECT attempt_id FROM runs") == [(f"{1:032x}",)]


def test_a_run_that_never_ended_well_is_a_failure_and_not_finished(store: Store):
    write_attempt(store, toy_run(1, status="failed", error_message="loss is nan at step 3"))

    assert rows(store, "SELECT error_message, recovered FROM failures") == [
        ("loss is nan at step 3", False)
    ]
    assert rows(store, "SELECT * FROM results") == []
    assert finished_keys(store) == frozenset()


def test_results_has_a_column_for_each_sort_of_value(store: Store):
    values = [
        score(0.1, epoch=0, selected=False),
        score(0.4, epoch=1, selected=True),
        score(0.6, epoch=2, selected=False),
        score(0.5, part="val", epoch=1, selected=True),
        score(0.3, part="val", epoch=2, selected=False),
        score(0.9, name="recall_at_10"),
    ]

    write_attempt(store, toy_run(1), metrics=values)

    names = "map_at_r, val_map_at_r, untrained_map_at_r, oracle_map_at_r, recall_at_10"
    assert rows(store, f"SELECT {names} FROM results") == [(0.4, 0.5, 0.1, 0.6, 0.9)]


def test_the_best_of_a_metric_may_be_its_smallest_value(store: Store):
    values = [
        score(value, epoch=epoch, name="error", selected=epoch == 1, higher_is_better=False)
        for epoch, value in ((1, 0.4), (2, 0.2), (3, 0.3))
    ]

    write_attempt(store, toy_run(1), metrics=values)

    assert rows(store, "SELECT error, oracle_error FROM results") == [(0.4, 0.2)]


def test_a_metric_that_was_tested_once_has_no_oracle(store: Store):
    write_attempt(store, toy_run(1), metrics=[score(0.4), score(0.1, epoch=0, selected=False)])

    assert "oracle_map_at_r" not in query(store, "SELECT * FROM results").columns


def test_a_metric_called_like_a_column_of_runs_gives_way(store: Store):
    write_attempt(store, toy_run(1), metrics=[score(0.4, name="seed"), score(0.5, name="it's")])

    assert rows(store, """SELECT seed, metric_seed, "it's" FROM results""") == [(0, 0.4, 0.5)]


def test_the_leaderboard_averages_folds_first_and_then_seeds(store: Store):
    add_scores(store, "alpha", [[0.2, 0.4], [0.4, 0.6], [0.6, 0.8]], first=1)

    found = rows(
        store, "SELECT method, mean, std, num_seeds, num_folds, half_width FROM leaderboard"
    )

    ((method, mean, std, num_seeds, num_folds, half_width),) = found
    assert (method, num_seeds, num_folds) == ("alpha", 3, 2)
    assert mean == pytest.approx(0.5, abs=1e-12)
    assert std == pytest.approx(0.2, abs=1e-12)
    assert half_width == pytest.approx(4.302652729911275 * 0.2 / 3**0.5, abs=1e-9)  # t table, df 2


def test_the_leaderboard_of_one_seed_has_no_width(store: Store):
    add_scores(store, "alpha", [[0.2, 0.4]], first=1)

    assert rows(store, "SELECT std, half_width, num_folds FROM leaderboard") == [(None, None, 2)]


@pytest.mark.parametrize(
    "changes",
    [{"smoke": True}, {"deviations": ("head.dim=8",)}, {"leaderboard_eligible": False}],
    ids=["smoke", "deviates", "not-eligible"],
)
def test_the_leaderboard_leaves_out_what_is_not_comparable(store: Store, changes):
    write_attempt(store, toy_run(1, **changes), metrics=[score(0.9)])

    assert rows(store, "SELECT * FROM leaderboard") == []


def test_other_digests_are_other_rows_of_the_leaderboard(store: Store):
    for number, digest in enumerate((DIGEST, "f" * 64)):
        write_attempt(store, toy_run(number, protocol_digest=digest), metrics=[score(0.5)])

    assert len(rows(store, "SELECT * FROM leaderboard")) == 2


def test_epochs_and_queries_belong_to_the_runs_that_count(store: Store):
    queries = {
        name: np.zeros(2, np.int64) if name != "hit_at_1" else np.ones(2, bool)
        for name in TABLES["queries"]
        if name not in ("attempt_id", "run_key", "neighbors", "neighbor_distances")
    }
    queries |= {"neighbors": np.zeros((2, 3), np.int64), "neighbor_distances": np.zeros((2, 3))}
    queries["num_relevant"] = np.ones(2, np.int64)
    write_attempt(store, toy_run(1), epochs=[toy_epoch(1, 2.0)], queries=queries)
    write_attempt(store, toy_run(2, status="failed"), epochs=[toy_epoch(1, 9.0)])

    assert rows(store, "SELECT run_key, losses[1].value FROM epochs") == [("key1", 2.0)]
    assert rows(store, "SELECT count(*) FROM all_epochs") == [(2,)]
    assert rows(store, "SELECT count(*), sum(hit_at_1::INT) FROM queries") == [(2, 2)]


def test_times_are_plain_and_in_utc(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "America/New_York")
    write_attempt(store, toy_run(1))

    assert rows(store, "SELECT ended_at::VARCHAR FROM runs") == [("2024-01-01 00:01:00",)]


def test_an_empty_store_has_every_view_with_its_columns(store: Store):
    for view in VIEW_DOCS.keys() - {"published"}:  # what others measured is there from the start
        assert rows(store, f"SELECT * FROM {view}") == []
    assert rows(store, README_QUERY) == []
    shown = dict(query(store, "SELECT column_name, column_type FROM (DESCRIBE runs)").rows)
    assert shown["seed"] == "BIGINT"
    assert shown["components"].startswith("STRUCT(kind VARCHAR")


def test_every_column_of_every_view_is_explained(store: Store):
    add_scores(store, "alpha", [[0.5]], first=1)

    unexplained = [
        (view, column) for view, column, _, doc in describe_views(store).rows if not doc
    ]

    assert unexplained == []
    assert {row[0] for row in describe_views(store).rows} == set(VIEW_DOCS)


def test_equal_questions_have_equal_answers_to_the_last_bit(store: Store):
    generator = np.random.default_rng(0)
    add_scores(store, "alpha", generator.random((5, 2)).tolist(), first=1)

    answers = {rows(store, "SELECT mean, std, half_width FROM leaderboard")[0] for _ in range(5)}

    assert len(answers) == 1


# --- files ----------------------------------------------------------------------------------


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "empty": b"",
            "cut": content[:middle],
            "zeroed": content[:20] + bytes(len(content) - 40) + content[-20:],
        }[how]
    )


@pytest.mark.parametrize("how", ["empty", "cut", "zeroed"])
@pytest.mark.parametrize("table", ["runs", "metrics"])
def test_a_damaged_file_is_left_out_with_a_warning(
    store: Store, table: str, how: str, caplog: pytest.LogCaptureFixture
):
    add_scores(store, "alpha", [[0.25], [0.75]], first=1)
    damage(store.root / table / "toy-a1b2c3d4" / f"{2:032x}.parquet", how)

    answer = rows(store, README_QUERY)

    assert answer == [("alpha", 0.25)]
    assert "left out 1 damaged file(s)" in caplog.text
    assert f"{2:032x}" in caplog.text


def test_rows_without_a_commit_record_do_not_count(store: Store):
    add_scores(store, "alpha", [[0.25], [0.75]], first=1)
    (store.root / "runs" / "toy-a1b2c3d4" / f"{2:032x}.parquet").unlink()

    assert rows(store, "SELECT value FROM all_metrics") == [(0.25,)]


def test_temporary_files_do_not_count(store: Store):
    add_scores(store, "alpha", [[0.25]], first=1)
    (store.root / "runs" / "toy-a1b2c3d4" / ".x.parquet.12ab.tmp").write_bytes(b"PAR1")

    assert len(take_inventory(store).files["runs"]) == 1


def test_older_and_newer_files_are_read_with_the_declared_columns(store: Store):
    """A column a file lacks is NULL, one it has too many is ignored, an int is a DOUBLE."""
    write_attempt(store, toy_run(1), metrics=[score(0.5)])
    path = store.root / "metrics" / "toy-a1b2c3d4" / f"{1:032x}.parquet"
    table = pq.ParquetFile(path).read()
    older = table.drop_columns(["higher_is_better"]).append_column("extra", pa.array([1]))
    value = older.schema.get_field_index("value")
    older = older.set_column(value, "value", pa.array([1], pa.int32()))
    path.unlink()
    pq.write_table(older, path)
    write_attempt(store, toy_run(2), metrics=[score(0.5)])

    answer = rows(store, "SELECT value, higher_is_better FROM metrics ORDER BY run_key")

    assert answer == [(1.0, None), (0.5, True)]
    assert query(store, "SELECT * FROM metrics").columns == tuple(schema_of("metrics").names)


@pytest.mark.parametrize("name", ["seed=3", "a [1]*?", "it's"], ids=["hive", "glob", "quote"])
def test_the_name_of_the_folder_does_not_matter(tmp_path: Path, name: str):
    store = open_store(tmp_path / name / "runs")
    add_scores(store, "alpha", [[0.5]], first=1)

    assert rows(store, "SELECT seed, map_at_r FROM results") == [(0, 0.5)]


def test_a_store_is_found_from_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    store = open_store(Path("runs"))
    add_scores(store, "alpha", [[0.5]], first=1)

    assert rows(store, README_QUERY) == [("alpha", 0.5)]


def test_a_connection_has_every_view(store: Store):
    add_scores(store, "alpha", [[0.5]], first=1)

    with connect(store) as database:
        counts = {view: len(database.execute(f"FROM {view}").fetchall()) for view in VIEW_DOCS}

    assert counts["results"] == counts["leaderboard"] == counts["all_metrics"] == 1
    assert {path.name for path in store.root.iterdir()} == {"STORE.json", "runs", "metrics"}
