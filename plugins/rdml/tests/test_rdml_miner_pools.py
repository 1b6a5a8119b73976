"""Pools and probabilities against loops written from the definitions."""

import math

import numpy as np
import pytest
import torch
from harness_rdml import miner_pools as pools
from torch.nn.functional import normalize

from harness.kit.pairs import negative_pairs

LABELS = torch.tensor([0, 1, 2, 0, 1, 1, 0, 3])  # class 2 and 3 are alone
ROWS = range(len(LABELS))


def embeddings(seed: int = 0, dim: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(len(LABELS), dim, generator=generator, dtype=torch.float64)
    return normalize(points + 1, dim=1)


def members(row: torch.Tensor) -> set[int]:
    return set(row.nonzero().squeeze(1).tolist())


def same(a: int, b: int) -> bool:
    return bool(LABELS[a] == LABELS[b])


def apart(points: torch.Tensor, a: int, b: int) -> float:
    return math.dist(points[a].tolist(), points[b].tolist())


def test_a_lone_image_is_its_own_partner():
    found = pools.partners_or_self(LABELS)

    assert [members(row) for row in found] == [
        {3, 6}, {4, 5}, {2}, {0, 6}, {1, 5}, {1, 4}, {0, 3}, {7}
    ]  # fmt: skip


@pytest.mark.parametrize("upper_cutoff", [None, 1.0])
@pytest.mark.parametrize("lower_cutoff", [0.2, 0.8])
def test_negatives_are_as_likely_as_their_distance_is_rare(lower_cutoff, upper_cutoff):
    points = embeddings()
    dim = points.shape[1]

    found = pools.distance_probability(
        pools.distances(points),
        negative_pairs(LABELS),
        dim=dim,
        lower_cutoff=lower_cutoff,
        upper_cutoff=upper_cutoff,
    )

    for a in ROWS:
        weights = []
        for n in ROWS:
            d = max(apart(points, a, n), lower_cutoff)
            density = d ** (dim - 2) * (1 - d**2 / 4) ** ((dim - 3) / 2)
            near = upper_cutoff is None or apart(points, a, n) < upper_cutoff
            weights.append(0 if same(a, n) or not near else 1 / density)
        total = sum(weights) or 1
        assert found[a].tolist() == pytest.approx([w / total for w in weights], abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_antipodal_negative_takes_all_the_probability(dtype):
    points = torch.zeros(3, 8, dtype=dtype)
    points[0, 0], points[1, 0], points[2, 1] = 1, -1, 1

    found = pools.distance_probability(
        pools.distances(points), ~torch.eye(3, dtype=torch.bool), dim=8, lower_cutoff=0.5
    )

    assert found[0].tolist() == pytest.approx([0, 1, 0], abs=1e-6)
    assert found.isfinite().all()


def test_unnormalised_embeddings_and_one_class_give_no_nan():
    points = 100 * torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    one_class = torch.zeros(4, dtype=torch.int64)

    far = pools.distance_probability(
        pools.distances(points), ~torch.eye(4, dtype=torch.bool), dim=3, lower_cutoff=0.5
    )
    none = pools.distance_probability(
        pools.distances(points), negative_pairs(one_class), dim=3, lower_cutoff=0.5
    )

    assert far.sum(1).tolist() == pytest.approx([1] * 4, abs=1e-6)
    assert not none.any()


@pytest.mark.parametrize("margin", [0.05, 0.2, 1.0])
def test_semihard_negatives_lie_in_the_margin_or_are_all(margin):
    points = embeddings(3)
    distance = pools.distances(points)
    pairs = [(a, p) for a in ROWS for p in ROWS if same(a, p) and a != p]
    anchor, positive = torch.tensor(pairs).T

    pool, found = pools.semihard_pool(
        distance[anchor], distance[anchor, positive], negative_pairs(LABELS)[anchor], margin
    )

    for index, (a, p) in enumerate(pairs):
        near = apart(points, a, p)
        others = {n for n in ROWS if not same(a, n)}
        semihard = {n for n in others if near < apart(points, a, n) < near + margin}
        assert members(pool[index]) == (semihard or others)
        assert bool(found[index]) == bool(semihard)


def test_softhard_pools_hold_the_violations_or_everything():
    points = embeddings(5)

    positives, negatives = pools.softhard_pools(pools.distances(points), LABELS)

    for a in ROWS:
        partners = {p for p in ROWS if same(a, p) and a != p}
        others = {n for n in ROWS if not same(a, n)}
        nearest = min(apart(points, a, n) for n in others)
        farthest = max((apart(points, a, p) for p in partners), default=-math.inf)
        far = {p for p in partners if apart(points, a, p) > nearest}
        near = {n for n in others if apart(points, a, n) < farthest}
        assert members(positives[a]) == (far or partners)
        assert members(negatives[a]) == (near or others)


def test_triplets_are_numbered_by_anchor_positive_negative():
    every = [
        (a, p, n)
        for a in ROWS
        for p in ROWS
        for n in ROWS
        if a != p and same(a, p) and not same(a, n)
    ]

    ends = pools.triplet_ends(LABELS)[1]
    found = pools.numbered_triplets(LABELS, torch.arange(len(every)))

    assert int(ends[-1]) == len(every)
    assert list(zip(*(index.tolist() for index in found), strict=True)) == every


@pytest.mark.parametrize(
    ("mode", "heavy"),
    [
        pytest.param("uniform", range(10), id="uniform"),
        pytest.param("hards", range(6), id="hards"),
        pytest.param("semihards", range(3, 8), id="semihards"),
        pytest.param("veryhards", range(4), id="veryhards"),
    ],
)
def test_bins_of_a_mode_share_the_weight(mode, heavy):
    nodes = np.array([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])

    weights = pools.bin_weights(mode, nodes)

    expected = [1 / len(heavy) if node in heavy else 0 for node in range(len(weights))]
    assert weights.tolist() == pytest.approx(expected, abs=1e-12)
    assert (weights > 0).all()


def test_a_negative_has_the_weight_of_the_bin_of_its_distance():
    nodes = torch.tensor([0.5, 1.0, 1.5])
    distance = torch.tensor([[0.0, 0.2, 1.0, 1.2, 9.0]])  # first bin, first, first, second, second

    found = pools.bin_probability(
        distance,
        torch.tensor([[False, True, True, True, True]]),
        nodes=nodes,
        weights=torch.tensor([0.3, 0.1]),
    )

    assert found.tolist() == [pytest.approx([0, 0.375, 0.375, 0.125, 0.125])]
