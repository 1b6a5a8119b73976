"""Ranking by tiles gives, bit for bit, what ranking by whole rows gives."""

import numpy as np
import pytest
import torch

from harness.evaluation import Embeddings, rank
from harness.evaluation.neighbours import join
from harness.evaluation.problem import pose
from harness.evaluation.rows import rank_rows
from harness.evaluation.tiles import rank_tiles, suits

MEMORY = 2**26


def items_of(values, labels, first_id=0):
    ids = torch.arange(first_id, first_id + len(labels))
    return Embeddings(torch.from_numpy(values).float(), torch.from_numpy(labels), ids)


def clustered(seed, *, rows=300, dims=16, classes=70, spread=1.0, first_id=0):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, rows)
    centres = np.random.default_rng(9).normal(size=(classes, dims))
    return items_of(centres[labels] + spread * draw.normal(size=(rows, dims)), labels, first_id)


def both_ways(query, gallery, *, distance="cosine", side=64, neighbors=10):
    problem = pose(query, gallery, distance=distance, neighbors=neighbors)
    everything = torch.arange(len(query))
    by_tiles = join(rank_tiles(problem, MEMORY, side=side))
    return by_tiles, join(rank_rows(problem, everything, MEMORY))


def assert_same(first, second):
    assert torch.equal(first.first_hit_rank, second.first_hit_rank)
    assert torch.equal(first.hits_at_r, second.hits_at_r)
    assert torch.equal(first.neighbor_rows, second.neighbor_rows)
    for left, right in zip(first.precision_sums, second.precision_sums, strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("spread", [0.2, 1.0, 100.0])
@pytest.mark.parametrize("side", [8, 40, 64, 296, 304])
def test_a_set_that_is_its_own_gallery(side, spread, distance):
    items = clustered(side, spread=spread)

    assert_same(*both_ways(items, items, distance=distance, side=side))


@pytest.mark.parametrize("side", [8, 40, 64, 304])
def test_a_gallery_apart_that_shares_some_ids(side):
    query = clustered(side, rows=77)
    gallery = clustered(side + 1, rows=203, first_id=50)

    assert_same(*both_ways(query, gallery, side=side))


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("seed", range(9))
def test_ties_and_duplicates_everywhere(seed, distance):
    draw = np.random.default_rng(seed)
    span = 1 + seed % 3
    values = draw.integers(-span, span + 1, (200, 4)) * 1.0
    items = items_of(values, draw.integers(0, 50, 200))

    assert_same(*both_ways(items, items, distance=distance, side=40))


def test_collapsed_embeddings():
    items = items_of(np.ones((150, 8)), np.arange(150) % 40)

    assert_same(*both_ways(items, items, side=64))


def test_lone_queries_and_a_class_that_the_gallery_lacks():
    query = items_of(np.random.default_rng(0).normal(size=(20, 4)), np.arange(20))
    gallery = items_of(np.random.default_rng(1).normal(size=(90, 4)), np.arange(90) % 5 + 3, 100)

    assert_same(*both_ways(query, gallery))


@pytest.mark.parametrize("spread", [0.8, 50.0])
def test_a_large_set_goes_by_tiles_and_is_still_exact(spread):
    items = clustered(4, rows=8300, dims=12, classes=1500, spread=spread)
    problem = pose(items, items, distance="cosine", neighbors=10)
    assert suits(problem)

    ranking = rank(items)

    rows = join(rank_rows(problem, torch.arange(0, 8300, 50), MEMORY))
    assert torch.equal(ranking.first_hit_rank[::50], rows.first_hit_rank)
    assert torch.equal(ranking.precision_sum_at_r[::50], rows.precision_sums[0])
    assert torch.equal(ranking.neighbor_ids[::50], rows.neighbor_rows)
