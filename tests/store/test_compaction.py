import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.errors import HarnessError, StoreError
from harness.store.compaction import compact, delete_merged, fold, fold_if_many
from harness.store.database import query
from harness.store.inventory import take_inventory
from harness.store.maintenance import collect_garbage, health, verify
from harness.store.schema import TABLES
from harness.store.segments import MERGED, current_generation
from harness.store.writer import COMMIT, DATA_TABLES, Store, lock, write_attempt
from harness.testing.rows import score, toy_epoch, toy_run

VIEWS = ("runs", "results", "leaderboard", "all_metrics", "all_epochs", "all_queries", "failures")


def toy_queries(number: int) -> dict[str, np.ndarray]:
    count = np.full(3, 1, np.int64)
    return {
        "sample_id": np.arange(3) + number,
        "label": np.arange(3),
        "num_relevant": np.array([1, 2, 0]),
        "first_hit_rank": count,
        "ap_at_r": np.full(3, 0.1 * number),
        "r_precision": np.full(3, 0.5),
        "hit_at_1": np.array([True, False, False]),
        "neighbors": np.arange(6).reshape(3, 2),
        "neighbor_distances": np.ones((3, 2), np.float32),
    }


def add(store: Store, numbers: range) -> None:
    for number in numbers:
        status = "failed" if number % 4 == 3 else "ok"
        run = toy_run(number, seed=number, status=status)
        if status == "failed":
            write_attempt(store, run)
        else:
            write_attempt(
                store,
                run,
                metrics=[score(number / 10), score(None, name="nmi")],
                epochs=[toy_epoch(1, 2.0), toy_epoch(2, 1.0)],
                queries=toy_queries(number),
            )


def contents(store: Store) -> dict[str, list[str]]:
    return {view: sorted(map(repr, query(store, f"SELECT * FROM {view}").rows)) for view in VIEWS}


def files_of(store: Store) -> list[str]:
    return sorted(
        str(path.relative_to(store.root))
        for path in store.root.rglob("*")
        if path.is_file() and path.name != ".lock"
    )


@pytest.fixture
def filled(store: Store) -> Store:
    add(store, range(1, 9))
    return store


# --- what is the same, and what is not --------------------------------------------------------


def test_compaction_changes_no_answer_and_leaves_one_file_per_table(filled: Store):
    before = contents(filled)

    done = compact(filled)

    assert contents(filled) == before
    assert (done.attempts, done.added, done.left_out) == (8, 8, ())
    assert [name.split("/")[:2] for name in files_of(filled)] == [
        ["STORE.json"],
        [MERGED, "00000001.json"],
        *([MERGED, table] for table in sorted(TABLES)),
    ]
    assert verify(filled).damaged == ()


def test_rows_added_later_join_the_merged_ones(filled: Store):
    compact(filled)
    add(filled, range(9, 12))
    before = contents(filled)

    again = compact(filled)

    assert len(before["runs"]) == 8  # 11 attempts, of which 3, 7 and 11 failed
    assert contents(filled) == before
    assert (again.attempts, again.added) == (11, 3)
    assert len(files_of(filled)) == 2 + len(TABLES)


def test_a_second_compaction_has_nothing_to_do(filled: Store):
    compact(filled)
    before = files_of(filled)

    done = compact(filled)

    assert (done.added, done.deleted, files_of(filled)) == (0, 0, before)


def test_an_empty_store_can_be_compacted(store: Store):
    done = compact(store)

    assert (done.attempts, done.added, done.deleted) == (0, 0, 0)


def test_folding_copies_and_deletes_nothing(filled: Store):
    before, names = contents(filled), files_of(filled)

    assert fold(filled) == 8
    add(filled, range(20, 22))
    assert fold(filled) == 2

    assert set(names) < set(files_of(filled))
    assert len(current_generation(filled).segments) == 2
    assert set(before["runs"]) < set(contents(filled)["runs"])
    assert take_inventory(filled).loose[COMMIT] == ()


def test_compaction_after_folding_leaves_one_file_per_table(filled: Store):
    fold(filled)
    add(filled, range(20, 22))
    fold(filled)
    add(filled, range(30, 32))
    before = contents(filled)

    done = compact(filled)

    assert contents(filled) == before
    assert (done.attempts, done.added) == (12, 2)
    assert len(files_of(filled)) == 2 + len(TABLES)


def test_few_loose_attempts_are_not_folded(filled: Store):
    fold_if_many(filled)

    assert current_generation(filled).number == 0


def test_many_loose_attempts_are_folded_unless_somebody_else_does(
    filled: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("harness.store.compaction.FOLD_FROM", 8)
    with lock(filled.root / MERGED):
        fold_if_many(filled)
    busy = current_generation(filled).number

    fold_if_many(filled)

    assert (busy, current_generation(filled).number) == (0, 1)


def test_two_cannot_merge_at_once(filled: Store):
    with (
        lock(filled.root / MERGED),
        pytest.raises(HarnessError, match="another process is merging"),
    ):
        compact(filled)


# --- what is damaged, or not ours ---------------------------------------------------------------


@pytest.mark.parametrize("table", sorted({COMMIT, *DATA_TABLES}))
def test_one_flipped_byte_of_a_merged_file_is_named(filled: Store, table: str):
    compact(filled)
    (path,) = (filled.root / MERGED / table).glob("*.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 16
    path.write_bytes(content)

    assert verify(filled).damaged == (path,)


@pytest.mark.parametrize("table", sorted({COMMIT, *DATA_TABLES}))
def test_a_damaged_attempt_is_left_as_it_is(filled: Store, table: str):
    path = filled.root / table / "toy-a1b2c3d4" / f"{2:032x}.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    done = compact(filled)

    assert (done.attempts, {p.stem for p in done.left_out}) == (7, {f"{2:032x}"})
    assert path.read_bytes() == content
    assert verify(filled).damaged == (path,)


def test_a_missing_file_is_named(filled: Store):
    path = filled.root / "metrics" / "toy-a1b2c3d4" / f"{2:032x}.parquet"
    path.unlink()

    assert verify(filled).damaged == (path,)
    assert compact(filled).attempts == 7


def test_every_flipped_byte_of_a_commit_record_is_found(store: Store):
    path = write_attempt(store, toy_run(1))
    content = path.read_bytes()
    missed: list[int] = []

    for place in range(0, len(content), 97):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        if verify(store).damaged != (path,):
            missed.append(place)

    assert missed == []


def test_columns_of_a_newer_version_are_not_lost(filled: Store):
    run = toy_run(50)
    path = write_attempt(filled, run)
    newer = pq.read_table(path).append_column("invented", pa.array(["later"]))
    path.unlink()
    pq.write_table(newer, path)

    done = compact(filled)

    assert done.left_out == (path,)
    assert "invented" in pq.read_schema(path).names
    assert len(query(filled, "SELECT * FROM runs WHERE run_key = 'key50'").rows) == 1


def test_a_damaged_list_is_one_message(filled: Store):
    compact(filled)
    (filled.root / MERGED / "00000001.json").write_text('{"format": 1, "segments": [')

    with pytest.raises(StoreError, match="list of merged files, is damaged"):
        query(filled, "SELECT * FROM runs")


def test_a_list_of_a_newer_version_is_one_message(filled: Store):
    compact(filled)
    (filled.root / MERGED / "00000002.json").write_text('{"format": 2}')

    with pytest.raises(StoreError, match="format 2") as caught:
        query(filled, "SELECT * FROM runs")

    assert "upgrade" in str(caught.value.hint)


def test_a_merged_file_that_is_gone_is_one_message(filled: Store):
    compact(filled)
    (path,) = (filled.root / MERGED / "metrics").glob("*.parquet")
    path.unlink()

    assert verify(filled).damaged == (path,)


# --- killed at each step ------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for the end of the process: nothing that comes after it changes the disk."""


@contextmanager
def killed_at(step: int) -> Iterator[None]:
    """Let a number of changes of the disk happen and none after them, clean-up included."""
    left = [step]

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return real(*args, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "link", "unlink"):
            patch.setattr(os, name, dying(getattr(os, name)))
        yield


EVERYTHING = """
    SELECT 'runs' AS part, attempt_id, status AS value FROM attempts
    UNION ALL SELECT 'metrics', attempt_id, name || coalesce(value, -1) FROM all_metrics
    UNION ALL SELECT 'epochs', attempt_id, losses::VARCHAR FROM all_epochs
    UNION ALL SELECT 'queries', attempt_id, sample_id || ' ' || ap_at_r FROM all_queries
    ORDER BY ALL
"""


@pytest.mark.parametrize(
    ("work", "stride"),
    [
        pytest.param(compact, 9, id="compact-some-steps"),
        pytest.param(compact, 1, id="compact", marks=pytest.mark.slow),
        pytest.param(fold, 1, id="fold", marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_step_nothing_is_lost_and_the_next_one_finishes(
    store: Store, tmp_path: Path, work: Callable[[Store], object], stride: int
):
    add(store, range(1, 2))
    fold(store)
    add(store, range(2, 4))
    before, killed, step = query(store, EVERYTHING), True, 0
    while killed:
        copy = Store(tmp_path / f"copy{step}")
        shutil.copytree(store.root, copy.root)
        with suppress(Killed), killed_at(step):
            work(copy)
            killed = False

        assert query(copy, EVERYTHING) == before, f"after step {step}"
        assert compact(copy).attempts == 3
        collect_garbage(copy, older_than=-1)
        assert query(copy, EVERYTHING) == before, f"after step {step} and a second compaction"
        assert len(files_of(copy)) == 2 + len(TABLES)
        step += stride

    assert step > 20  # four files and a list: each synced, linked, and its folder synced


def test_what_a_killed_compaction_left_is_shown_and_deleted(filled: Store):
    fold(filled)

    assert len(health(filled).merged) == 8 + 3 * 6
    assert len(delete_merged(filled)) == 8 + 3 * 6
    assert health(filled).merged == ()
