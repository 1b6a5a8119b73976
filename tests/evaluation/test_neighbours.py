"""Ranking against a slow twin that sorts everything, written from the definitions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.evaluation import Embeddings, Ranking, rank


def embedded(values, labels, ids=None):
    values = torch.as_tensor(values, dtype=torch.float32)
    ids = range(len(values)) if ids is None else ids
    return Embeddings(
        values,
        torch.as_tensor(labels, dtype=torch.int64),
        torch.as_tensor(list(ids), dtype=torch.int64),
    )


def integer_problem(seed, *, rows=30, dims=3, classes=6, span=3):
    """Small integer coordinates: ties, duplicates and lone queries abound."""
    draw = np.random.default_rng(seed)
    values = draw.integers(-span, span + 1, (rows, dims)) * 1.0
    return embedded(values, draw.integers(0, classes, rows), draw.permutation(rows) + 100)


def continuous_problem(seed, *, rows=40, dims=5, classes=6):
    draw = np.random.default_rng(seed)
    return embedded(draw.normal(size=(rows, dims)), draw.integers(0, classes, rows))


def twin_order(query, gallery, distance):
    """Sort the whole gallery of each query by (distance, row), its own sample left out."""
    orders = []
    for q, own in zip(query.values.double().numpy(), query.sample_ids.tolist(), strict=True):
        keyed = []
        for row, g in enumerate(gallery.values.double().numpy()):
            if gallery.sample_ids[row] != own:
                keyed.append((distance(q, g), row))
        orders.append([row for _, row in sorted(keyed)])
    return orders


def squared(q, g):
    return sum((a - b) ** 2 for a, b in zip(q, g, strict=True))


def cosine(q, g):
    dot = sum(a * b for a, b in zip(q, g, strict=True))
    length = math.sqrt(sum(a * a for a in q)) * math.sqrt(sum(b * b for b in g))
    return -dot / length if length else 0.0


def twin_facts(query, gallery, orders):
    """R, first hit rank, hits at R, precision sums at R and R + 1, per query."""
    facts = []
    for label, order in zip(query.labels.tolist(), orders, strict=True):
        hits = [gallery.labels[row].item() == label for row in order]
        relevant = sum(hits)
        precision = [sum(hits[: i + 1]) / (i + 1) if hit else 0.0 for i, hit in enumerate(hits)]
        facts.append(
            (
                relevant,
                hits.index(True) + 1 if relevant else 0,
                sum(hits[:relevant]),
                sum(precision[:relevant]),
                sum(precision[: relevant + 1]),
            )
        )
    return facts


def facts_of(ranking):
    columns = (
        ranking.num_relevant,
        ranking.first_hit_rank,
        ranking.hits_at_r,
        ranking.precision_sum_at_r,
        ranking.precision_sum_past_r,
    )
    return list(zip(*(column.tolist() for column in columns), strict=True))


def same(first: Ranking, second: Ranking):
    tensors = ("first_hit_rank", "hits_at_r", "precision_sum_at_r", "precision_sum_past_r")
    tensors += ("neighbor_ids", "neighbor_distances", "num_relevant")
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in tensors)


@pytest.mark.parametrize("seed", range(20))
def test_euclidean_ranking_with_many_ties_equals_the_slow_twin(seed):
    items = integer_problem(seed)
    orders = twin_order(items, items, squared)

    ranking = rank(items, distance="euclidean", neighbors=29)

    assert ranking.neighbor_ids.tolist() == [items.sample_ids[row].tolist() for row in orders]
    assert facts_of(ranking) == twin_facts(items, items, orders)


@pytest.mark.parametrize("seed", range(20))
def test_cosine_ranking_equals_the_slow_twin(seed):
    items = continuous_problem(seed)
    orders = twin_order(items, items, cosine)

    ranking = rank(items, neighbors=39)

    assert ranking.neighbor_ids.tolist() == orders
    assert facts_of(ranking) == twin_facts(items, items, orders)


@pytest.mark.parametrize("seed", range(10))
def test_gallery_apart_equals_the_slow_twin(seed):
    query = integer_problem(seed, rows=15)
    gallery = integer_problem(seed + 1000, rows=40)
    gallery = embedded(gallery.values, gallery.labels, range(110, 150))  # shares some ids
    orders = twin_order(query, gallery, squared)

    ranking = rank(query, gallery, distance="euclidean", neighbors=20)

    assert ranking.neighbor_ids.tolist() == [
        gallery.sample_ids[order[:20]].tolist() for order in orders
    ]
    assert facts_of(ranking) == twin_facts(query, gallery, orders)


def test_worked_example_by_hand():
    items = embedded([[0.0], [1.0], [2.6], [2.0], [4.5], [3.9]], [0, 0, 0, 1, 1, 2])

    ranking = rank(items, distance="euclidean")

    assert ranking.neighbor_ids.tolist() == [
        [1, 3, 2, 5, 4],
        [0, 3, 2, 5, 4],
        [3, 5, 1, 4, 0],
        [2, 1, 5, 0, 4],
        [5, 2, 3, 1, 0],
        [4, 2, 3, 1, 0],
    ]
    assert ranking.first_hit_rank.tolist() == [1, 1, 3, 5, 3, 0]
    assert ranking.num_lone == 1


@given(
    seed=st.integers(0, 10**6),
    block=st.integers(1, 30),
    name=st.sampled_from(["cosine", "euclidean"]),
)
@settings(max_examples=12)
def test_memory_never_changes_a_result(seed, block, name):
    items = integer_problem(seed)
    whole = rank(items, distance=name, neighbors=29)

    in_blocks = rank(items, distance=name, neighbors=29, memory=block * 4000)

    assert same(whole, in_blocks)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=12)
def test_duplicates_tie_and_come_in_gallery_order(seed):
    draw = np.random.default_rng(seed)
    distinct = draw.normal(size=(8, 33)).astype(np.float32)
    which = draw.integers(0, 8, 60)
    items = embedded(distinct[which], draw.integers(0, 5, 60))

    neighbors = rank(items, neighbors=59).neighbor_ids.numpy()

    for row in neighbors:
        groups = which[row]
        starts = np.flatnonzero(np.diff(groups, prepend=-1))
        assert len(starts) == len(np.unique(groups)), "a duplicate is apart from its twins"
        for group in np.split(row, starts[1:]):
            assert (np.diff(group) > 0).all()


@given(seed=st.integers(0, 10**6))
@settings(max_examples=12)
def test_permuting_the_rows_permutes_the_facts(seed):
    items = continuous_problem(seed)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(items)))
    moved = Embeddings(items.values[order], items.labels[order], items.sample_ids[order])

    before, after = rank(items), rank(moved)

    assert torch.equal(before.first_hit_rank[order], after.first_hit_rank)
    assert torch.equal(before.precision_sum_at_r[order], after.precision_sum_at_r)
    assert torch.equal(before.neighbor_ids[order], after.neighbor_ids)


@given(seed=st.integers(0, 10**6), exponent=st.integers(-20, 20))
@settings(max_examples=12)
def test_scaling_by_a_power_of_two_changes_no_rank(seed, exponent):
    items = continuous_problem(seed)
    scaled = embedded(items.values * 2.0**exponent, items.labels)

    for name in ("cosine", "euclidean"):
        before, after = rank(items, distance=name), rank(scaled, distance=name)

        assert torch.equal(before.neighbor_ids, after.neighbor_ids)
        assert torch.equal(before.first_hit_rank, after.first_hit_rank)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=12)
def test_rotation_changes_no_rank(seed):
    items = continuous_problem(seed, rows=20)
    draw = np.random.default_rng(seed)
    rotation = torch.from_numpy(np.linalg.qr(draw.normal(size=(5, 5)))[0])
    rotated = embedded((items.values.double() @ rotation).float(), items.labels)
    wide = rank(items, neighbors=19)
    assume((wide.neighbor_distances.diff(dim=1) > 1e-5).all())

    turned = rank(rotated, neighbors=19)

    assert torch.equal(wide.neighbor_ids, turned.neighbor_ids)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=12)
def test_renaming_the_classes_changes_nothing(seed):
    items = integer_problem(seed)
    names = torch.tensor([2**53 + 1, -(2**60), 2**24 + 1, 2**24, 0, 7])
    renamed = Embeddings(items.values, names[items.labels], items.sample_ids)

    assert same(rank(items), rank(renamed))


def test_labels_beyond_float32_stay_apart():
    items = embedded([[0.0], [1.0], [2.0]], [2**24, 2**24 + 1, 2**24])

    ranking = rank(items, distance="euclidean")

    assert ranking.num_relevant.tolist() == [1, 0, 1]
    assert ranking.first_hit_rank.tolist() == [2, 0, 2]


def test_a_duplicate_of_the_query_stays_and_only_the_query_goes():
    items = embedded([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [0, 0, 1], ids=[7, 3, 5])

    ranking = rank(items)

    assert ranking.neighbor_ids.tolist() == [[3, 5], [7, 5], [7, 3]]


def test_an_own_distance_is_used_and_duplicates_tie():
    items = integer_problem(3)

    def manhattan(query, gallery):
        return (query.unsqueeze(1) - gallery).abs().sum(2)

    orders = twin_order(items, items, lambda q, g: np.abs(q - g).sum())

    ranking = rank(items, distance=manhattan, neighbors=29)

    assert ranking.neighbor_ids.tolist() == [items.sample_ids[row].tolist() for row in orders]
    assert ranking.distance == "manhattan"


def test_far_from_the_origin_euclidean_ranks_are_still_exact():
    near = integer_problem(5)
    far = embedded(near.values + 1000.0, near.labels, near.sample_ids)

    assert same(rank(near, distance="euclidean"), rank(far, distance="euclidean"))


def test_precision_sums_reach_the_cut_offs_asked_for():
    items = integer_problem(11)
    orders = twin_order(items, items, squared)

    ranking = rank(items, distance="euclidean")

    for cutoff in (12, 1000):
        expected = []
        for label, order in zip(items.labels.tolist(), orders, strict=True):
            hits = [items.labels[row].item() == label for row in order[:cutoff]]
            expected.append(sum(sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits) if hit))
        assert ranking.precision_sum(cutoff).tolist() == pytest.approx(expected, abs=1e-14)


def test_two_sides_of_different_width_are_refused():
    with pytest.raises(HarnessError, match="3 dimensions, the gallery has 2"):
        rank(embedded([[0.0] * 3], [0]), embedded([[0.0] * 2], [0], ids=[5]))


def test_an_unknown_distance_is_refused_with_a_suggestion():
    with pytest.raises(HarnessError, match="unknown distance 'cosin'") as caught:
        rank(embedded([[0.0], [1.0]], [0, 0]), distance="cosin")

    assert "cosine" in caught.value.hint
