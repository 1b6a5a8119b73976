import errno
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from harness.errors import HarnessError, StoreError
from harness.store.writer import (
    Store,
    find_store,
    finished_keys,
    lock,
    new_attempt_id,
    open_store,
    work_folder,
    write_attempt,
    write_protocol,
)
from harness.testing.rows import score, toy_epoch, toy_run

QUERIES = {
    "sample_id": np.array([7, 8, 9]),
    "label": np.array([1, 2, 1]),
    "num_relevant": np.array([1, 0, 1]),
    "first_hit_rank": np.array([2, 0, 0]),
    "ap_at_r": np.array([0.0, np.nan, 0.0]),
    "r_precision": np.array([0.0, np.nan, 0.0]),
    "hit_at_1": np.array([False, False, False]),
    "neighbors": np.array([[8, 9], [7, 9], [8, 7]]),
    "neighbor_distances": np.array([[0.5, 1.0]] * 3, dtype=np.float32),
}


def visible(store: Store) -> set[str]:
    return {str(path.relative_to(store.root)) for path in store.root.rglob("*.parquet")}


def read(store: Store, table: str) -> list[dict[str, object]]:
    (path,) = (store.root / table).rglob("*.parquet")
    return pq.ParquetFile(path).read().to_pylist()


# --- what is written ------------------------------------------------------------------------


def test_an_attempt_is_one_file_in_each_table(store: Store):
    run = toy_run(1)

    write_attempt(store, run, metrics=[score(0.5)], epochs=[toy_epoch(1, 2.0)], queries=QUERIES)

    name = f"toy-a1b2c3d4/{run.attempt_id}.parquet"
    assert visible(store) == {
        f"{table}/{name}" for table in ("runs", "metrics", "epochs", "queries")
    }


def test_a_run_reads_back_as_it_was_written(store: Store):
    run = toy_run(1, deviations=("training.epochs=3",), miner=None)

    write_attempt(store, run)

    (row,) = read(store, "runs")
    assert row["params"] == '{"loss": {"tau": 32.0}}'
    assert row["components"] == [run.components[0]._asdict()]
    assert row["versions"] == [{"name": "torch", "version": "2.4.0"}]
    assert row["ended_at"] == run.ended_at
    plain = ("run_key", "method", "seed", "wall_seconds", "miner", "leaderboard_eligible")
    assert [row[name] for name in plain] == [getattr(run, name) for name in plain]
    assert row["deviations"] == ["training.epochs=3"]


def test_metrics_and_epochs_name_their_attempt(store: Store):
    write_attempt(store, toy_run(1), metrics=[score(None)], epochs=[toy_epoch(3, 2.0)])

    (metric,) = read(store, "metrics")
    (epoch,) = read(store, "epochs")
    assert (metric["run_key"], metric["name"], metric["value"]) == ("key1", "map_at_r", None)
    assert (epoch["run_key"], epoch["epoch"]) == ("key1", 3)
    assert epoch["losses"] == [{"name": "loss", "value": 2.0}]


def test_outcomes_of_lone_queries_are_null(store: Store):
    write_attempt(store, toy_run(1), queries=QUERIES)

    _, lone, unlucky = read(store, "queries")
    outcomes = ("first_hit_rank", "ap_at_r", "r_precision", "hit_at_1")
    assert [lone[name] for name in outcomes] == [None] * 4
    assert [unlucky[name] for name in outcomes] == [None, 0.0, 0.0, False]
    assert lone["neighbors"] == [7, 9]


def test_no_stored_neighbors_are_empty_lists(store: Store):
    none = {"neighbors": np.zeros((3, 0), np.int64), "neighbor_distances": np.zeros((3, 0))}

    write_attempt(store, toy_run(1), queries={**QUERIES, **none})

    assert [row["neighbors"] for row in read(store, "queries")] == [[], [], []]


NAN = float("nan")


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        pytest.param({"metrics": [score(NAN)]}, "value is nan", id="metric"),
        pytest.param({"metrics": [score(float("inf"))]}, "value is inf", id="infinite"),
        pytest.param({"epochs": [toy_epoch(1, NAN)]}, "losses.loss is nan", id="loss"),
        pytest.param({"queries": {**QUERIES, "ap_at_r": np.full(3, NAN)}}, "ap_at_r", id="query"),
    ],
)
def test_what_is_not_finite_is_refused_and_nothing_written(store: Store, rows, named: str):
    with pytest.raises(HarnessError, match=named):
        write_attempt(store, toy_run(1), **rows)

    assert visible(store) == set()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        pytest.param({"label": None}, "label", id="missing"),
        pytest.param({"extra": np.zeros(3)}, "extra", id="unknown"),
        pytest.param({"label": np.zeros(2, np.int64)}, "2 label for 3 queries", id="short"),
    ],
)
def test_queries_that_do_not_fit_are_refused(store: Store, changes, named: str):
    columns = {
        name: values for name, values in {**QUERIES, **changes}.items() if values is not None
    }

    with pytest.raises(HarnessError, match=named):
        write_attempt(store, toy_run(1), queries=columns)


def test_a_missing_value_is_named(store: Store):
    with pytest.raises(HarnessError, match="`method` of table `runs` must have a value"):
        write_attempt(store, toy_run(1, method=None))


# --- whole or not at all --------------------------------------------------------------------


def test_an_attempt_is_never_overwritten(store: Store):
    write_attempt(store, toy_run(1), metrics=[score(0.5)])
    before = {path: path.read_bytes() for path in store.root.rglob("*.parquet")}

    with pytest.raises(StoreError, match="exists"):
        write_attempt(store, toy_run(1, method="beta"), metrics=[score(0.9)])

    assert {path: path.read_bytes() for path in store.root.rglob("*.parquet")} == before


@pytest.mark.parametrize("table", ["metrics", "epochs", "queries", "runs"])
def test_a_full_disk_leaves_nothing_half_written(
    store: Store, table: str, monkeypatch: pytest.MonkeyPatch
):
    write_attempt(store, toy_run(1))
    real = os.link

    def link(source: Path, target: Path) -> None:
        if target.relative_to(store.root).parts[0] == table:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(StoreError, match="No space left on device") as caught:
        write_attempt(
            store, toy_run(2), metrics=[score(0.5)], epochs=[toy_epoch(1, 1.0)], queries=QUERIES
        )

    assert caught.value.exit_code == 4
    assert "free some space" in (caught.value.hint or "")
    assert visible(store) == {f"runs/toy-a1b2c3d4/{1:032x}.parquet"}
    assert not list(store.root.rglob("*.tmp"))
    assert finished_keys(store) == {"key1"}


def test_a_file_system_without_hard_links_will_do(store: Store, monkeypatch: pytest.MonkeyPatch):
    def link(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    write_attempt(store, toy_run(1))

    with pytest.raises(StoreError, match="exists"):
        write_attempt(store, toy_run(1))
    assert finished_keys(store) == {"key1"}
    assert not list(store.root.rglob("*.tmp"))


KILLED_WRITERS = """
import os, random, signal, sys, time
from pathlib import Path
from harness.store.writer import new_attempt_id, open_store, write_attempt
from harness.testing.rows import score, toy_epoch, toy_run

store, rounds = open_store(Path(sys.argv[1])), int(sys.argv[2])
random.seed(1)
write_attempt(store, toy_run(1))  # the writers below start warm
for _ in range(rounds):
    writer = os.fork()
    if writer == 0:
        with open(sys.argv[1] + "/committed", "a", buffering=1) as log:
            while True:
                name = new_attempt_id()
                run = toy_run(1, attempt_id=name, run_key=name)
                curve = [toy_epoch(epoch, 1.0) for epoch in range(20)]
                write_attempt(store, run, metrics=[score(0.5)] * 50, epochs=curve)
                log.write(run.run_key + "\\n")
    time.sleep(random.uniform(0.01, 0.15))
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
"""


def test_a_killed_writer_loses_no_committed_attempt_and_leaves_no_unreadable_file(tmp_path: Path):
    root = tmp_path / "runs"

    subprocess.run([sys.executable, "-c", KILLED_WRITERS, str(root), "20"], check=True)

    for path in root.rglob("*.parquet"):
        pq.ParquetFile(path).read()
    logged = {line for line in (root / "committed").read_text().split("\n") if len(line) == 32}
    assert logged
    assert logged <= finished_keys(find_store(root))


TWO_WRITERS = """
import os, sys
from pathlib import Path
from harness.store.writer import open_store, write_attempt
from harness.testing.rows import score, toy_run

store = open_store(Path(sys.argv[1]))
writers = []
for first in (0, 100):
    writer = os.fork()
    if writer == 0:
        for number in range(first, first + 15):
            write_attempt(store, toy_run(number), metrics=[score(0.5)])
        os._exit(0)
    writers.append(writer)
for writer in writers:
    assert os.waitpid(writer, 0)[1] == 0
"""


def test_two_writers_at_once_lose_nothing(tmp_path: Path):
    subprocess.run([sys.executable, "-c", TWO_WRITERS, str(tmp_path / "runs")], check=True)

    expected = {f"key{number}" for first in (0, 100) for number in range(first, first + 15)}
    assert finished_keys(find_store(tmp_path / "runs")) == expected


BARE_READER = """
import sys
import duckdb, pyarrow.dataset
root = sys.argv[1]
count = duckdb.sql(f"SELECT count(*) FROM '{root}/runs/*/*.parquet'").fetchall()[0][0]
value = duckdb.sql(f"SELECT max(value) FROM '{root}/metrics/*/*.parquet'").fetchall()[0][0]
rows = pyarrow.dataset.dataset(f"{root}/queries", format="parquet").to_table().num_rows
assert "harness" not in sys.modules
print(count, value, rows)
"""


def test_plain_duckdb_and_pyarrow_read_the_folders(store: Store):
    write_attempt(store, toy_run(1), metrics=[score(0.5)], queries=QUERIES)
    write_attempt(store, toy_run(2), metrics=[score(0.75)])

    command = [sys.executable, "-I", "-c", BARE_READER, str(store.root)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert answer.split() == ["2", "0.75", "3"]


# --- opening --------------------------------------------------------------------------------


def test_opening_twice_is_opening_once(tmp_path: Path):
    first = open_store(tmp_path / "deep" / "runs")

    assert open_store(first.root) == first == find_store(first.root)
    assert sorted(path.name for path in first.root.iterdir()) == ["STORE.json"]


def test_a_file_in_the_place_of_the_folder_is_an_error_of_the_store(tmp_path: Path):
    (tmp_path / "runs").write_text("mine")

    with pytest.raises(StoreError, match=r"cannot write to .*runs") as caught:
        open_store(tmp_path / "runs")

    assert caught.value.exit_code == 4
    assert "--store" in (caught.value.hint or "")


def test_a_folder_that_cannot_be_made_is_an_error_of_the_store():
    with pytest.raises(StoreError, match="cannot write to /proc/none"):
        open_store(Path("/proc/none"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param('{"format": 2}', "store format 2; this version reads up to 1", id="newer"),
        pytest.param("{", "not a description of a store", id="no-json"),
        pytest.param("[]", "not a description of a store", id="no-object"),
        pytest.param(None, "STORE.json is missing", id="absent"),
    ],
)
def test_what_is_not_a_store_of_this_format_is_refused(tmp_path: Path, text, message: str):
    if text is not None:
        (tmp_path / "STORE.json").write_text(text)

    with pytest.raises(StoreError, match=message):
        find_store(tmp_path)


# --- ids, protocols, work folders -----------------------------------------------------------


def test_attempt_ids_are_unique_and_sort_by_time():
    ids = [new_attempt_id() for _ in range(200)]

    assert len(set(ids)) == 200
    assert all(len(name) == 32 and name == name.lower() and name[12] == "7" for name in ids)
    prefixes = [name[:16] for name in ids]  # milliseconds, version and fraction
    assert all(first <= second for first, second in pairwise(prefixes))


def test_a_protocol_is_kept_once(store: Store):
    path = write_protocol(store, "abc", "name: toy\n")

    assert write_protocol(store, "abc", "name: other\n") == path
    assert path.read_text() == "name: toy\n"


HOLDER = """
import sys, time
from pathlib import Path
from harness.store.writer import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_work_folder_belongs_to_one_process_until_that_ends(store: Store):
    folder = work_folder(store, "key1")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"

    with pytest.raises(HarnessError, match=rf"\(process {holder.pid} on "), lock(folder):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()

    with lock(folder):
        pass
