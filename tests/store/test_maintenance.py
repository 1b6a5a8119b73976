import os
import time
from pathlib import Path

import pytest

from harness.store.maintenance import collect_garbage, health, verify
from harness.store.writer import Store, write_attempt
from harness.testing.rows import add_scores, score, toy_epoch, toy_run

GROUP = "toy-a1b2c3d4"


@pytest.fixture
def filled(store: Store) -> Store:
    write_attempt(store, toy_run(1), metrics=[score(0.5)], epochs=[toy_epoch(1, 2.0)])
    add_scores(store, "beta", [[0.5]], first=2)
    return store


def leave_behind(store: Store, name: str, *, age: float) -> Path:
    path = store.root / name
    path.write_bytes(b"PAR1")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_a_sound_store_is_counted(filled: Store):
    found = health(filled)

    assert found.files == {"runs": 2, "metrics": 2, "epochs": 1, "queries": 0, "ensembles": 0}
    assert (found.damaged, found.orphans, found.temporary) == ((), (), ())
    assert dict(found.facts())["attempts"] == 2


def test_leftovers_of_a_killed_writer_are_found(filled: Store):
    orphan = leave_behind(filled, f"metrics/{GROUP}/{9:032x}.parquet", age=0)
    temporary = leave_behind(filled, f"runs/{GROUP}/.{9:032x}.parquet.12ab34cd.tmp", age=0)

    found = health(filled)

    assert (found.orphans, found.temporary) == ((orphan,), (temporary,))
    assert dict(found.facts())["orphaned files"] == f"1, for example {orphan}"


def test_only_old_leftovers_are_collected(filled: Store):
    old = {
        leave_behind(filled, f"metrics/{GROUP}/{8:032x}.parquet", age=7200),
        leave_behind(filled, f"runs/{GROUP}/.a.parquet.12ab34cd.tmp", age=7200),
    }
    young = leave_behind(filled, f"runs/{GROUP}/.b.parquet.12ab34cd.tmp", age=60)
    committed = set((filled.root / "runs" / GROUP).glob("[!.]*.parquet"))

    deleted = set(collect_garbage(filled))

    assert deleted == old
    assert young.exists()
    assert all(path.exists() for path in committed)
    assert health(filled).files["metrics"] == 2


@pytest.mark.parametrize("table", ["runs", "metrics", "epochs"])
@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_one_flipped_bit_is_found(filled: Store, table: str, place: float):
    path = filled.root / table / GROUP / f"{1:032x}.parquet"
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 1
    path.write_bytes(content)

    assert path in verify(filled).damaged


def test_a_sound_store_verifies(filled: Store):
    found = verify(filled)

    assert found == health(filled)
