"""Kernels do on a CPU what their torch counterparts do elsewhere."""

import pytest
import torch

from harness.evaluation import kernels
from harness.evaluation.pairs import Listed, ordered


@pytest.fixture
def scores():
    return torch.randint(-9, 9, (7, 40), generator=torch.Generator().manual_seed(0)).float()


@pytest.mark.parametrize("k", [1, 5, 40])
def test_the_kth_largest_is_the_last_of_the_top_k(scores, k):
    assert torch.equal(kernels.kth_largest(scores, k), scores.topk(k).values[:, -1])


def test_at_least_includes_the_level_itself(scores):
    level = scores[:, 3]

    assert torch.equal(kernels.at_least(scores, level), scores >= level.unsqueeze(1))


def test_places_come_row_by_row(scores):
    assert torch.equal(torch.stack(kernels.places(scores > 3), 1), (scores > 3).nonzero())


def test_rows_are_ordered(scores):
    down = scores.gather(1, kernels.descending_order(scores))

    assert torch.equal(down, scores.sort(dim=1, descending=True).values)
    assert torch.equal(kernels.ascending(scores.long()), scores.long().sort(dim=1).values)


def test_groups_keep_the_order_of_their_members():
    assert kernels.grouped_order(torch.tensor([300, 2, 300, 0, 2])).tolist() == [3, 1, 4, 0, 2]


def test_values_are_repeated():
    found = kernels.repeated(torch.tensor([5, 6, 7]), torch.tensor([2, 0, 1]), 3)

    assert found.tolist() == [5, 5, 7]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lists_are_ordered_by_score_and_then_by_row(dtype):
    counts = torch.tensor([5, 0, 2])
    rows = torch.tensor([9, 4, 5, 2**31, 0, 8, 2])
    values = [1.0, 2.5e-40, 1.0, -3.0, -1e30, 3.0, 3.0]

    nearest = ordered(Listed(counts, rows, torch.tensor(values, dtype=dtype)))

    assert nearest.rows[0].tolist() == [5, 9, 4, 2**31, 0]
    assert (
        nearest.scores[0].tolist() == sorted(torch.tensor(values[:5], dtype=dtype).tolist())[::-1]
    )
    assert nearest.rows[2, :2].tolist() == [2, 8]
    assert nearest.scores[1].tolist() == [-torch.inf] * 5
