from datetime import timedelta
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.store.compaction import compact
from harness.store.database import query
from harness.store.export import export
from harness.store.maintenance import collect_garbage, health, verify
from harness.store.schema import RunRow
from harness.store.writer import Store, find_store, write_attempt, write_ensemble
from harness.testing.rows import score, toy_ensemble, toy_run

ASKED = (
    "SELECT kind, method, seed, metric, value, num_members, embedding_dim, distance "
    "FROM ensembles ORDER BY ALL"
)


def folds(
    store: Store, values: tuple[float, ...], *, first: int = 1, **changes: object
) -> list[RunRow]:
    """Write a run for each fold, and return them."""
    runs = [
        toy_run(first + fold, fold=fold, embedding_dim=8, **changes) for fold in range(len(values))
    ]
    for run, value in zip(runs, values, strict=True):
        write_attempt(store, run, metrics=[score(value), score(0.99, part="val")])
    return runs


@pytest.fixture
def runs(store: Store) -> list[RunRow]:
    return folds(store, (0.25, 0.5))


def test_the_models_of_a_seed_stand_once_alone_and_once_as_one(store: Store, runs: list[RunRow]):
    write_ensemble(store, [toy_ensemble(runs, 0.75)])

    assert query(store, ASKED).rows == (
        ("concatenated", "alpha", 0, "map_at_r", 0.75, 2, 16, "euclidean"),
        ("separated", "alpha", 0, "map_at_r", 0.375, 2, 8, None),
    )


def test_writing_twice_counts_once_also_after_compaction(store: Store, runs: list[RunRow]):
    ensemble = [toy_ensemble(runs, 0.75)]
    first = write_ensemble(store, ensemble)
    before = query(store, ASKED).rows

    second = write_ensemble(store, ensemble)
    compact(store)
    third = write_ensemble(store, ensemble)

    assert (first, second, third) == (True, False, True)  # its own file was merged and deleted
    assert query(store, ASKED).rows == before
    assert query(store, "SELECT count(*) FROM all_ensembles").rows == ((1,),)
    assert (compact(store).deleted, query(store, ASKED).rows) == (1, before)


def test_ensembles_are_merged_with_the_runs_and_on_their_own(store: Store, runs: list[RunRow]):
    compact(store)
    write_ensemble(store, [toy_ensemble(runs, 0.75)])
    before = query(store, ASKED).rows

    compact(store)

    assert query(store, ASKED).rows == before
    assert not list((store.root / "ensembles").rglob("*.parquet"))
    assert verify(store).damaged == ()


def test_a_store_merged_before_there_were_ensembles_is_read(store: Store, runs: list[RunRow]):
    compact(store)
    (listing,) = (store.root / "merged").glob("*.json")
    older = listing.read_text().partition('"ensembles"')
    assert older[1], "the listing names the table"
    rest = older[2].partition("}")[2]
    listing.write_text(older[0].rstrip().rstrip(",") + rest)

    write_ensemble(store, [toy_ensemble(runs, 0.75)])

    assert len(query(store, ASKED).rows) == 2
    compact(store)
    assert len(query(store, ASKED).rows) == 2


def test_of_one_method_and_seed_the_newest_ensemble_counts(store: Store, runs: list[RunRow]):
    rerun = folds(store, (0.5, 0.75), first=11)
    write_ensemble(store, [toy_ensemble(rerun, 0.8)])
    write_ensemble(store, [toy_ensemble(runs, 0.75)])

    values = query(store, "SELECT kind, value FROM ensembles ORDER BY ALL").rows

    assert values == (("concatenated", 0.8), ("separated", 0.625))
    assert query(store, "SELECT count(*) FROM all_ensembles").rows == ((2,),)


def test_the_mean_of_single_models_needs_all_of_them(store: Store, runs: list[RunRow]):
    write_ensemble(store, [toy_ensemble([*runs, toy_run(9, fold=2)], 0.75)])

    assert query(store, "SELECT kind FROM ensembles").rows == (("concatenated",),)


def test_another_attempt_at_a_member_does_not_double_it(store: Store, runs: list[RunRow]):
    write_ensemble(store, [toy_ensemble(runs, 0.75)])
    again = toy_run(30, run_key=runs[0].run_key, fold=0)
    write_attempt(store, again, metrics=[score(0.125)])

    found = query(store, "SELECT value FROM ensembles WHERE kind = 'separated'").rows

    assert found == ((0.375,),)


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_one_flipped_bit_is_found_and_left_alone(store: Store, runs: list[RunRow], place: float):
    write_ensemble(store, [toy_ensemble(runs, 0.75)])
    (path,) = (store.root / "ensembles").rglob("*.parquet")
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 1
    path.write_bytes(content)

    assert verify(store).damaged == (path,)
    assert compact(store).left_out == (path,)


def test_health_counts_ensembles_and_nothing_of_them_is_garbage(store: Store, runs: list[RunRow]):
    write_ensemble(store, [toy_ensemble(runs, 0.75)])

    deleted = collect_garbage(store, older_than=-1)

    assert deleted == ()
    assert dict(health(store).facts())["ensembles files"] == 1


def test_an_export_takes_an_ensemble_along_with_all_its_members(
    store: Store, runs: list[RunRow], tmp_path: Path
):
    other = folds(store, (0.1, 0.2), first=11, seed=1)
    write_ensemble(store, [toy_ensemble(runs, 0.75)])
    write_ensemble(store, [toy_ensemble(other, 0.5)])

    export(store, tmp_path / "part", where="seed = 0 OR fold = 1")

    assert query(find_store(tmp_path / "part"), "SELECT seed FROM all_ensembles").rows == ((0,),)


def test_a_value_that_is_not_finite_is_refused(store: Store, runs: list[RunRow]):
    with pytest.raises(HarnessError, match="value is nan"):
        write_ensemble(store, [toy_ensemble(runs, float("nan"))])

    assert not (store.root / "ensembles").exists()


def test_the_newest_of_two_counts_whatever_the_order_of_writing(store: Store, runs: list[RunRow]):
    late = toy_ensemble(runs, 0.9, ensemble_id="later")
    late_time = late.computed_at + timedelta(hours=1)
    write_ensemble(store, [toy_ensemble(runs, 0.9, ensemble_id="later", computed_at=late_time)])
    write_ensemble(store, [toy_ensemble(runs, 0.1)])

    found = query(store, "SELECT value FROM ensembles WHERE kind = 'concatenated'").rows

    assert found == ((0.9,),)


def test_the_question_in_the_docs_has_an_answer(store: Store, runs: list[RunRow]):
    page = (Path(__file__).parents[2] / "docs" / "studies.md").read_text()
    section = page.partition("## The Reality Check, whole")[2]
    sql = section.partition("```sql\n")[2].partition("```")[0]
    write_ensemble(store, [toy_ensemble(runs, 0.75)])

    assert query(store, sql).rows == (("toy", "alpha", "map_at_r", 1, 0.375, 0.75, 0.375),)
