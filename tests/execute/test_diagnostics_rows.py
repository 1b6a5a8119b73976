"""Diagnostics during training: rows beside the scores, and no other number changed by them."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from harness import protocol
from harness.errors import HarnessError
from harness.store.database import connect

NAMES = ("spectral_decay", "intra_class_distance", "inter_class_distance", "intra_inter_ratio")


def rows(store) -> list[dict]:
    files = sorted((store.root / "metrics").glob("*/*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def kl_from_uniform(values: np.ndarray) -> float:
    spectrum = np.linalg.svd(values.astype(np.float64), compute_uv=False)
    spectrum = spectrum / spectrum.sum()
    return float(-np.log(spectrum * len(spectrum)).mean())


def test_every_evaluation_leaves_diagnostics_of_train_and_test(toy, plan, execute, store):
    chosen = toy(evaluation__diagnostics=NAMES, selection__every=2)

    summary = execute(plan(chosen), save_embeddings=True)

    assert summary.finished == 1
    found = {(r["part"], r["epoch"], r["name"]): r for r in rows(store) if r["name"] in NAMES}
    assert set(found) == {(p, e, n) for p in ("train", "test") for e in (0, 2, 4) for n in NAMES}
    assert {key[1] for key, row in found.items() if row["selected"]} == {4}
    (file,) = (store.root / "embeddings").glob("*/*.npz")
    expected = kl_from_uniform(np.load(file)["embeddings"])
    assert found["test", 4, "spectral_decay"]["value"] == pytest.approx(expected, rel=1e-6)
    ratio, intra, inter = (
        found["train", 4, name]["value"]
        for name in ("intra_inter_ratio", "intra_class_distance", "inter_class_distance")
    )
    assert ratio == pytest.approx(intra / inter)


def test_diagnostics_change_no_score_and_not_what_it_is_compared_with(toy, plan, execute, store):
    (plain,) = plan(toy())
    (watched,) = plan(toy(evaluation__diagnostics=NAMES))

    execute((plain,))
    scores = {(r["part"], r["epoch"], r["name"]): r["value"] for r in rows(store)}
    summary = execute((watched,))

    assert summary.finished == 1  # a run without them does not stand for one with them
    assert watched.key != plain.key
    for name in ("method", "method_key", "pair_key", "protocol_digest"):
        assert getattr(watched, name) == getattr(plain, name)
    again = {
        (r["part"], r["epoch"], r["name"]): r["value"]
        for r in rows(store)
        if r["name"] not in NAMES
    }
    assert again == scores
    assert any(r["name"] in NAMES for r in rows(store))


def test_a_user_may_ask_for_diagnostics_under_any_protocol(toy, plan):
    (plain,) = plan(toy())

    (watched,) = plan(toy(), settings=("evaluation.diagnostics=[spectral_decay]",))

    assert [name for name, _ in watched.diagnostics] == ["spectral_decay"]
    assert watched.deviations == ()
    assert (watched.method_key, watched.method) == (plain.method_key, plain.method)


def test_results_have_columns_for_both_parts(toy, plan, execute, store):
    execute(plan(toy(evaluation__diagnostics=("spectral_decay",))))

    with connect(store) as database:
        query = (
            "SELECT spectral_decay, train_spectral_decay, untrained_spectral_decay FROM results"
        )
        (row,) = database.execute(query).fetchall()

    assert all(value > 0 for value in row)
    assert len(set(row)) == 3


def test_a_diagnostic_that_needs_a_ranking_is_refused(toy, plan):
    with pytest.raises(HarnessError, match="map_at_r needs a ranking") as caught:
        plan(toy(evaluation__diagnostics=("map_at_r",)))

    assert "spectral_decay" in (caught.value.hint or "")


def test_a_diagnostic_is_named_once(toy):
    with pytest.raises(HarnessError, match="diagnostics name 'ami' twice"):
        protocol.with_values(toy(), {"evaluation.diagnostics": ["ami", "ami"]})


def test_a_rehearsal_looks_at_a_few_training_images(toy, plan, execute, store):
    summary = execute(plan(toy(evaluation__diagnostics=("spectral_decay",)), smoke=True))

    assert summary.finished == 1
    assert {row["part"] for row in rows(store) if row["name"] == "spectral_decay"} == {
        "train", "test"
    }  # fmt: skip
