"""Masks and index lists against loops over the definition; reductions of empty sets."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.kit.pairs import (
    all_pairs,
    all_triplets,
    anchor_chunks,
    log_one_plus_sum_exp,
    masked_max,
    masked_mean,
    masked_min,
    negative_pairs,
    positive_pairs,
    same_class,
)

classes = st.lists(st.integers(0, 3), min_size=1, max_size=9)


def rows(indices: tuple[torch.Tensor, ...]) -> list[tuple[int, ...]]:
    return list(zip(*(index.tolist() for index in indices), strict=True))


@given(classes)
def test_pairs_and_triplets_are_those_of_the_definition(y: list[int]):
    labels, places = torch.tensor(y), range(len(y))

    pairs, triplets = all_pairs(labels), all_triplets(labels)

    assert rows(pairs[:2]) == [(i, j) for i in places for j in places if i != j and y[i] == y[j]]
    assert rows(pairs[2:]) == [(i, j) for i in places for j in places if y[i] != y[j]]
    assert rows(triplets) == [
        (a, p, n)
        for a, p, n in itertools.product(places, repeat=3)
        if a != p and y[a] == y[p] and y[a] != y[n]
    ]


@given(classes)
def test_masks_partition_the_batch(y: list[int]):
    labels = torch.tensor(y)

    positive, negative = positive_pairs(labels), negative_pairs(labels)

    itself = torch.eye(len(y), dtype=torch.bool)
    assert torch.equal(positive.int() + negative.int() + itself.int(), torch.ones(len(y), len(y)))
    assert torch.equal(same_class(labels), positive | itself)


def test_same_class_compares_two_sets():
    mask = same_class(torch.tensor([1, 2]), torch.tensor([2, 2, 1]))

    assert mask.tolist() == [[False, False, True], [True, True, False]]


@given(classes, st.integers(1, 5))
def test_triplets_in_chunks_are_all_triplets(y: list[int], rows_at_once: int):
    labels = torch.tensor(y)

    chunks = anchor_chunks(len(y), per_anchor=10, at_most=10 * rows_at_once + 3)

    found = itertools.chain(*(rows(all_triplets(labels, anchors)) for anchors in chunks))
    assert list(found) == rows(all_triplets(labels))


def test_the_count_in_the_docstring_is_right():
    labels = torch.arange(8).repeat_interleave(16)

    assert len(all_triplets(labels).anchor) == 215_040


def test_a_chunk_has_one_row_at_least():
    assert list(anchor_chunks(3, per_anchor=100, at_most=10)) == [
        slice(0, 1),
        slice(1, 2),
        slice(2, 3),
    ]


VALUES = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
MASK = torch.tensor([[True, False, True], [False, False, False]])


@pytest.mark.parametrize(
    ("reduce", "expected"),
    [
        pytest.param(masked_max, [4, -math.inf], id="max"),
        pytest.param(masked_min, [1, math.inf], id="min"),
        pytest.param(lambda v, m: masked_mean(v, m, dim=1), [2.5, 0], id="mean"),
        pytest.param(
            log_one_plus_sum_exp, [math.log(1 + math.e + math.e**4), 0], id="log-one-plus-sum-exp"
        ),
    ],
)
def test_reductions_by_hand(reduce, expected: list[float]):
    assert reduce(VALUES, MASK).tolist() == pytest.approx(expected)


def test_mean_over_everything_counts_the_chosen_values():
    assert masked_mean(VALUES, MASK).item() == 2.5


@pytest.mark.parametrize("reduce", [masked_mean, log_one_plus_sum_exp])
def test_an_empty_set_is_connected_and_has_zero_gradient(reduce):
    values = VALUES.clone().requires_grad_()

    reduce(values, torch.zeros_like(MASK)).sum().backward()

    assert torch.equal(values.grad, torch.zeros_like(VALUES))


def test_sums_of_exponentials_do_not_overflow():
    values = torch.tensor([[1e4, 1e4]], requires_grad=True)

    result = log_one_plus_sum_exp(values, torch.ones(1, 2, dtype=torch.bool))
    result.sum().backward()

    assert result.item() == pytest.approx(1e4 + math.log(2))
    assert values.grad.flatten().tolist() == pytest.approx([0.5, 0.5], rel=1e-3)
