from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.evaluation.joining import concatenate
from harness.execute.ensembles import Joined, join_all
from harness.plan import Tuning
from harness.protocol import Protocol, digest, dump
from harness.registry import Registry
from harness.store.database import query
from harness.store.embeddings import Side, encode, file_of
from harness.store.files import publish
from harness.store.writer import Store, write_attempt, write_protocol
from harness.testing.rows import score, toy_run

METRICS = ("map_at_r", "r_precision", "precision_at_1")
Join = Callable[..., dict[str, tuple[str, str]]]


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.sqrt((values**2).sum(1, keepdims=True))


def scores_by_hand(files: list[Path]) -> Mapping[str, float]:
    """Compute the concatenated scores from the definitions, in float64 and query by query."""
    saved = [np.load(file) for file in files]
    joined = unit(np.hstack([unit(one["embeddings"].astype(np.float64)) for one in saved]))
    joined = joined.astype(np.float32).astype(np.float64)  # all embeddings are ranked as float32
    labels = saved[0]["labels"]
    found: list[tuple[float, float, float]] = []
    for row, label in enumerate(labels):
        distances = np.sqrt(((joined - joined[row]) ** 2).sum(1))
        distances[row] = np.inf
        relevant = int((labels == label).sum()) - 1
        hits = labels[np.argsort(distances, kind="stable")[:relevant]] == label
        precisions = hits.cumsum() / np.arange(1, relevant + 1)
        found.append(((precisions * hits).sum() / relevant, hits.mean(), float(hits[0])))
    return dict(zip(METRICS, np.mean(found, axis=0), strict=True))


@pytest.fixture
def folded(toy: Callable[..., Protocol]) -> Protocol:
    """Two folds of digits 0-4; digits 5-9 test."""
    return toy(
        split__scheme="mlrc",
        split__folds=2,
        selection__rule="best_val",
        training__batch_size=12,
        training__epochs=1,
        evaluation__metrics=METRICS,
        evaluation__distance="euclidean",
    )


@pytest.fixture
def join(store: Store, registry: Registry) -> Join:
    """Return state and reason of each method after joining what can be joined."""

    def go(**options: object) -> dict[str, tuple[str, str]]:
        heard: list[Joined] = []
        done = join_all(store, registry, on_joined=heard.append, **options)
        assert tuple(heard) == done
        return {one.candidate.method: (one.state, one.reason) for one in done}

    return go


@pytest.fixture
def add(store: Store, folded: Protocol) -> Callable[..., Path]:
    """Write a finished run of a fold with test embeddings of 24 samples, and return their file."""
    write_protocol(store, digest(folded), dump(folded))

    def go(number: int, *, keep: bool = True, gallery: bool = False, **changes: object) -> Path:
        named = {"protocol": "toy", "protocol_digest": digest(folded), "embedding_dim": 3}
        run = toy_run(number, **{**named, "fold": number, **changes})
        write_attempt(store, run, metrics=[score(0.25 * (number + 1))])
        path = file_of(store, run.protocol, run.protocol_digest, run.attempt_id)
        if keep:
            publish(path, encode(drawn(number), drawn(number + 50) if gallery else None))
        return path

    return go


def drawn(seed: int) -> Side:
    values = np.random.default_rng(seed).normal(size=(24, 3)).astype(np.float32)
    return Side(values, np.arange(24) // 4, np.arange(24) + seed // 50 * 100)


def values(store: Store, kind: str) -> dict[str, float]:
    sql = f"SELECT metric, value FROM ensembles WHERE kind = '{kind}'"
    return dict(query(store, sql).rows)


def test_a_trained_ensemble_scores_what_its_definition_says(
    folded, plan, execute, store: Store, join: Join
):
    execute(plan(folded, "contrastive"), save_embeddings=True)
    write_protocol(store, digest(folded), dump(folded))

    states = join(protocol="toy")

    assert states == {"contrastive": ("new", "")}
    rows = query(store, "SELECT attempt_id FROM runs ORDER BY fold").rows
    files = [next(store.root.glob(f"embeddings/*/{attempt}.npz")) for (attempt,) in rows]
    assert values(store, "concatenated") == pytest.approx(scores_by_hand(files), abs=1e-9)
    single = query(store, f"SELECT {', '.join(METRICS)} FROM results").rows
    means = dict(zip(METRICS, np.mean(single, axis=0), strict=True))
    assert values(store, "separated") == pytest.approx(means)


def test_a_trial_of_a_search_keeps_no_embeddings(toy, plan, execute, store: Store):
    (run,) = plan(toy(training__epochs=0), "contrastive")
    tuning = Tuning("5ea2c4", "contrastive", "map_at_r", trial=3)

    execute((replace(run, tuning=tuning),), save_embeddings=True)

    assert query(store, "SELECT trial FROM runs").rows == ((3,),)
    assert not (store.root / "embeddings").exists()


def test_joining_twice_is_joining_once(store: Store, add, join: Join):
    files = [add(0), add(1)]
    first = join()
    before = query(store, "SELECT * FROM all_ensembles ORDER BY ALL").rows

    again = join()

    assert (first, again) == ({"alpha": ("new", "")}, {"alpha": ("known", "")})
    assert values(store, "concatenated") == pytest.approx(scores_by_hand(files), abs=1e-9)
    assert query(store, "SELECT * FROM all_ensembles ORDER BY ALL").rows == before


@pytest.mark.parametrize("column", ["sample_ids", "labels"])
def test_a_permuted_member_is_named_and_joined_with_nobody(
    store: Store, add, join: Join, column: str
):
    add(0)
    path = add(1)
    saved = dict(np.load(path))
    saved[column] = saved[column][::-1]
    np.savez(path, **saved)

    ((state, reason),) = join().values()

    what = column.replace("_", " ")
    assert state == "failed"
    assert reason.startswith(f"run key1 (fold 1) has other {what} than run key0 (fold 0)")
    assert query(store, "SELECT count(*) FROM all_ensembles").rows == ((0,),)


def test_a_damaged_file_is_named_and_the_others_are_joined(add, join: Join):
    path = add(0)
    path.write_bytes(path.read_bytes()[:300])
    add(1)
    add(2, method="beta", fold=0)
    add(3, method="beta", fold=1)

    states = join()

    assert states["alpha"][0] == "failed"
    assert str(path) in states["alpha"][1]
    assert states["beta"] == ("new", "")


def test_a_missing_fold_is_waited_for(add, join: Join):
    add(0)
    before = join()

    add(1)

    assert before == {"alpha": ("incomplete", "fold 1: no run ended well")}
    assert join() == {"alpha": ("new", "")}


def test_runs_without_embeddings_can_be_made_up_for(store: Store, add, join: Join):
    add(0, keep=False)
    add(1, keep=False)
    before = join()

    add(10, run_key="key0", fold=0)
    add(11, run_key="key1", fold=1)

    assert before == {"alpha": ("incomplete", "fold 0, 1: run without --save-embeddings")}
    assert join() == {"alpha": ("new", "")}
    assert values(store, "separated") == {"map_at_r": 0.375}  # of the attempts that count


def test_seeds_and_methods_are_joined_apart(store: Store, add, join: Join):
    for number in range(4):
        add(number, fold=number % 2, seed=number // 2)

    join()

    rows = query(store, "SELECT seed, run_keys FROM all_ensembles GROUP BY ALL ORDER BY 1").rows
    assert rows == ((0, ["key0", "key1"]), (1, ["key2", "key3"]))


def test_deviations_rehearsals_and_trials_are_no_candidates(add, join: Join):
    for number, change in enumerate(({"deviations": ("head.dim=4",)}, {"smoke": True}, {})):
        for fold in (0, 1):
            add(number * 10 + fold, fold=fold, leaderboard_eligible=False, **change)

    assert join() == {}


def test_a_gallery_apart_is_joined_as_well(store: Store, add, join: Join):
    add(0, gallery=True)
    add(1, gallery=True)

    assert join() == {"alpha": ("new", "")}
    ((metrics,),) = query(store, "SELECT count(DISTINCT metric) FROM all_ensembles").rows
    assert metrics == len(METRICS)


def test_one_side_and_two_sides_are_not_joined(add, join: Join):
    add(0, gallery=True)
    add(1)

    assert join() == {
        "alpha": ("failed", "run key1 (fold 1) has no gallery, other folds have one")
    }


def test_what_cannot_be_joined_at_all_is_refused(store: Store, toy, join: Join):
    single = toy()
    write_protocol(store, digest(single), dump(single))
    write_attempt(store, toy_run(1, protocol="toy", protocol_digest=digest(single)))

    assert join() == {}
    with pytest.raises(HarnessError, match="protocol toy has one fold"):
        join(protocol="toy")
    with pytest.raises(HarnessError, match="no run of protocol 'toi' ended well") as caught:
        join(protocol="toi")
    assert caught.value.hint == "did you mean 'toy'?"


# --- the pure part ----------------------------------------------------------------------------


def side(*rows: tuple[float, ...]) -> Side:
    count = np.arange(len(rows))
    return Side(np.array(rows), count, count)


def test_each_model_has_the_same_say_whatever_its_scale():
    joined = concatenate({"one": side((3, 4)), "other": side((0, 0.001))})

    assert joined.embeddings == pytest.approx(np.array([[0.6, 0.8, 0, 1]]) / np.sqrt(2))


def test_a_zero_vector_stays_zero():
    joined = concatenate({"one": side((0, 0)), "other": side((0, 2))})

    assert joined.embeddings.tolist() == [[0, 0, 0, 1]]


def test_members_of_another_length_are_refused():
    one, other = side((1, 0), (0, 1)), side((1, 0))

    with pytest.raises(HarnessError, match="other has other sample ids than one"):
        concatenate({"one": one, "other": other})
