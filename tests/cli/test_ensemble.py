import json

import numpy as np
import pytest

from harness.protocol import digest, dump, load, with_values
from harness.store.embeddings import Side, encode, file_of
from harness.store.files import publish
from harness.store.writer import Store, open_store, write_attempt, write_protocol
from harness.testing.rows import score, toy_run

ORDER = np.arange(24)


def side(seed: int, order: np.ndarray = ORDER) -> Side:
    values = np.random.default_rng(seed).normal(size=(24, 3)).astype(np.float32)
    return Side(values[order], order // 4, order)


@pytest.fixture
def filled(harness, tmp_path) -> Store:
    """Two seeds of two folds each, every one with its embeddings; nobody has joined them."""
    assert harness("protocol", "validate", "protocols/digits.yaml").code == 0
    store = open_store(tmp_path / "runs")
    changes = {"name": "toy", "split.scheme": "mlrc", "split.folds": 2}
    toy = with_values(load(tmp_path / "protocols" / "digits.yaml"), changes)
    write_protocol(store, digest(toy), dump(toy))
    for number in range(4):
        place = {"fold": number % 2, "seed": number // 2}
        run = toy_run(number, protocol_digest=digest(toy), embedding_dim=3, **place)
        write_attempt(store, run, metrics=[score(number / 10)])
        publish(file_of(store, "toy", digest(toy), run.attempt_id), encode(side(number), None))
    return store


@pytest.mark.usefixtures("filled")
def test_ensembles_are_joined_and_shown(harness):
    ended = harness("ensemble", "toy", "--format", "json")

    (row,) = json.loads(ended.out)["rows"]
    assert ended.code == 0
    assert ended.err.splitlines() == ["new  toy  alpha  seed 0", "new  toy  alpha  seed 1"]
    assert (row[0], *row[2:6]) == ("toy", "alpha", "map_at_r", 2, 2)
    assert row[6] == pytest.approx(0.15)  # of 0.05 and 0.25
    assert row[7] == pytest.approx(12.706205 * 0.1)  # t of one degree of freedom, standard error
    assert harness("ensemble", "--format", "json").out == ended.out


def test_what_cannot_be_joined_is_said_and_ends_with_one(harness, filled: Store):
    path = sorted((filled.root / "embeddings").rglob("*.npz"))[1]
    path.write_bytes(encode(side(1, ORDER[::-1]), None))

    ended = harness("ensemble", "toy")

    assert ended.code == 1
    assert "failed  toy  alpha  seed 0: run key1 (fold 1) has other sample ids" in ended.err
    assert "alpha" in ended.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("toi",), "did you mean 'toy'?", id="protocol"),
        pytest.param(("--metric", "map"), "no ensemble has a value of 'map'", id="metric"),
        pytest.param(("--device", "tpu9"), "not 'tpu9'", id="device"),
        pytest.param(("--backend", "tor"), "did you mean 'torch'?", id="backend"),
    ],
)
@pytest.mark.usefixtures("filled")
def test_bad_input_ends_in_one_message(harness, words, said: str):
    ended = harness("ensemble", *words)

    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_a_store_without_embeddings_says_how_to_get_them(harness, filled: Store):
    for path in (filled.root / "embeddings").rglob("*.npz"):
        path.unlink()

    ended = harness("ensemble")

    assert ended.code == 2
    assert "fold 0, 1: run without --save-embeddings" in ended.err
    assert "harness run PROTOCOL --plugin NAME --save-embeddings" in ended.err
