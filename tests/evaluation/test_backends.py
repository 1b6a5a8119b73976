"""A backend changes the speed of a ranking and no bit of its result."""

import sys

import numpy as np
import pytest
import torch

import harness
from harness.contracts import Backend, Index, Nearest
from harness.errors import HarnessError
from harness.evaluation import Embeddings, evaluate, rank
from harness.registry import discover

NAMES = [entry.name for entry in discover().entries("backend")]
COLUMNS = (
    "num_relevant",
    "first_hit_rank",
    "hits_at_r",
    "precision_sum_at_r",
    "precision_sum_past_r",
    "neighbor_ids",
    "neighbor_distances",
)


def embedded(values, labels, *, first_id=0):
    return Embeddings(
        torch.as_tensor(np.asarray(values), dtype=torch.float32),
        torch.as_tensor(np.asarray(labels), dtype=torch.int64),
        torch.arange(first_id, first_id + len(labels)),
    )


def problem(seed, *, rows=120, dims=6, classes=9, integers=False, first_id=0):
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(rows, dims))
    if integers:  # ties and duplicates abound
        values = draw.integers(-2, 3, (rows, dims))
    return embedded(values, draw.integers(0, classes, rows), first_id=first_id)


def plain_search(gallery):
    """Sort all products of float64: the contract, read aloud."""

    def search(query, width):
        products = (query.double() @ gallery.double().T).to(query.dtype)
        return Nearest(*products.topk(width))

    return search


def backend(name):
    return Backend("plain", plain_search) if name == "plain" else harness.build("backend", name)


def assert_same(first, second):
    for column in COLUMNS:
        assert torch.equal(getattr(first, column), getattr(second, column)), column


@pytest.mark.parametrize("name", [*NAMES, "plain"])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("integers", [True, False], ids=["ties", "continuous"])
def test_every_backend_ranks_to_the_same_bits(name, distance, integers):
    for seed in range(2):
        items = problem(seed, integers=integers)
        expected = rank(items, distance=distance, neighbors=30)

        found = rank(items, distance=distance, neighbors=30, backend=backend(name))

        assert_same(found, expected)
        assert torch.equal(found.precision_sum(50), expected.precision_sum(50))


@pytest.mark.parametrize("name", [*NAMES, "plain"])
def test_a_gallery_apart_that_shares_samples_ranks_to_the_same_bits(name):
    query = problem(1, rows=40, integers=True)
    gallery = problem(2, rows=90, integers=True, first_id=20)

    found = rank(query, gallery, backend=backend(name))

    assert_same(found, rank(query, gallery))


@pytest.mark.parametrize("name", [*NAMES, "plain"])
@pytest.mark.parametrize(
    "items",
    [
        pytest.param(embedded(np.ones((60, 3)), np.arange(60) % 7), id="collapsed"),
        pytest.param(embedded(np.eye(4)[:2], [0, 0]), id="two-rows"),
        pytest.param(embedded(np.zeros((5, 2)), [0, 0, 1, 1, 2]), id="zero-vectors"),
        pytest.param(problem(3, rows=150, dims=2, classes=75), id="first-hits-far-away"),
        pytest.param(problem(4, rows=100, dims=40, classes=2), id="two-large-classes"),
    ],
)
def test_hard_problems_rank_to_the_same_bits_in_any_memory(name, items):
    expected = rank(items)

    for memory in (300_000, 2**30):
        assert_same(rank(items, memory=memory, backend=backend(name)), expected)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda scores: scores * 1.01, id="scaled"),
        pytest.param(lambda scores: scores.bfloat16().float(), id="reduced-precision"),
    ],
)
def test_scores_less_exact_than_promised_are_noticed(spoil):
    items = problem(5, rows=400, dims=16)

    def careless(gallery):
        search = plain_search(gallery)
        return lambda query, width: search(query, width)._replace(
            scores=spoil(search(query, width).scores)
        )

    assert_same(rank(items, backend=Backend("careless", careless)), rank(items))


def test_a_ranking_says_what_found_its_neighbours():
    items = problem(6)

    assert rank(items).backend == "torch"
    assert rank(items, backend=backend("faiss")).backend == "faiss"


def test_a_distance_that_is_a_function_is_left_to_torch():
    items = problem(7)

    def manhattan(query, gallery):
        return (query.unsqueeze(1) - gallery).abs().sum(2)

    found = rank(items, distance=manhattan, backend=backend("faiss"))

    assert found.backend == "torch"
    assert_same(found, rank(items, distance=manhattan))


def test_an_index_of_faiss_keeps_the_contract():
    gallery = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    index = backend("faiss").index(gallery)

    scores, rows = index(torch.tensor([[1.0, 1.0]]), 2)

    assert isinstance(index, Index)
    assert (rows.tolist(), scores.tolist()) == ([[2, 1]], [[3.0, 2.0]])


@pytest.mark.parametrize("name", NAMES)
def test_one_call_takes_a_backend_by_name(name):
    items = problem(8)

    scores = evaluate(items.values, items.labels, backend=name)

    assert scores == evaluate(items.values, items.labels)
    assert scores.ranking.backend == name


def test_an_unknown_backend_gets_a_suggestion():
    with pytest.raises(HarnessError, match="unknown backend 'fais'") as caught:
        evaluate(np.eye(4), [0, 0, 1, 1], backend="fais")

    assert caught.value.hint == "did you mean 'faiss'?"


def test_without_faiss_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)  # what Python does where it is not installed

    with pytest.raises(HarnessError, match="needs the package faiss") as caught:
        harness.build("backend", "faiss")

    assert caught.value.hint == 'pip install "dml-harness[faiss]"'
