"""Kernels do on a CPU what their torch counterparts do elsewhere."""

import pytest
import torch

from harness.evaluation import kernels
from harness.evaluation.pairs import Listed, ordered

pytestmark = pytest.mark.usefixtures("each_scan")


@pytest.fixture
def scores():
    return torch.randint(-9, 9, (7, 40), generator=torch.Generator().manual_seed(0)).float()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shift", [0, 20, -20], ids=["around zero", "above", "below"])
@pytest.mark.parametrize("k", [1, 5, 40])
def test_the_kth_largest_is_the_last_of_the_top_k(scores, k, shift, dtype):
    scores = (scores + shift).to(dtype)

    found = kernels.kth_largest_peak(scores, k, group=1)

    assert torch.equal(found, scores.topk(k).values[:, -1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shift", [0, 20, -20], ids=["around zero", "above", "below"])
def test_a_peak_is_the_largest_of_its_group(scores, shift, dtype):
    scores = (scores + shift).to(dtype)
    peaks = torch.stack([scores[:, place::10].amax(1) for place in range(10)], dim=1)

    found = kernels.kth_largest_peak(scores, 3, group=4)

    assert torch.equal(found, peaks.sort(dim=1).values[:, -3])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shift", [0, 20, -20], ids=["around zero", "above", "below"])
def test_at_least_includes_the_level_itself(scores, shift, dtype):
    scores = (scores + shift).to(dtype)
    level = scores[:, 3]

    assert torch.equal(kernels.at_least(scores, level), scores >= level.unsqueeze(1))


@pytest.mark.parametrize("level", [0.0, -0.0])
def test_both_zeros_are_at_least_zero(level):
    scores = torch.tensor([[-1.0, -0.0, 0.0, 1.0, -torch.inf]], dtype=torch.bfloat16)

    found = kernels.at_least(scores, torch.tensor([level], dtype=torch.bfloat16))

    assert found.tolist() == [[False, True, True, True, False]]


def random_bits(rows: int, columns: int, seed: int) -> torch.Tensor:
    """Any bfloat16 but NaN: both zeros, denormals, infinities and equal ones."""
    generator = torch.Generator().manual_seed(seed)
    bits = torch.randint(-(2**15), 2**15, (rows, columns), generator=generator).short()
    bits[:, ::3] = bits[:, :1]
    bits[:, 1::7] &= -(2**15)  # zeros
    scores = bits.view(torch.bfloat16)
    return scores.masked_fill(scores.isnan(), -torch.inf)


@pytest.mark.parametrize("columns", [8, 40, 1048])
@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("seed", range(5))
def test_peaks_of_any_bits(columns, group, seed):
    scores = random_bits(6, columns, seed)
    peaks = scores.float().unflatten(1, (group, -1)).amax(1).sort(dim=1).values

    for k in {1, 2, columns // group // 2, columns // group}:
        assert torch.equal(kernels.kth_largest_peak(scores, k, group).float(), peaks[:, -k])


@pytest.mark.parametrize("columns", [8, 40, 1048, 40_000])
@pytest.mark.parametrize("seed", range(5))
def test_lists_of_any_bits(columns, seed):
    scores = random_bits(6, columns, seed)
    level = scores[:, [0, 1, 4]].amin(1)
    level[0], level[1], level[2] = 0.0, -torch.inf, torch.inf
    mask = scores.float() >= level.float().unsqueeze(1)

    found = kernels.list_at_least(scores, level, most=float(mask.sum()))

    assert found is not None
    counts, places, values = found
    assert torch.equal(counts, mask.sum(1))
    assert torch.equal(places, mask.nonzero()[:, 1])
    assert torch.equal(values, scores[mask])
    assert kernels.list_at_least(scores, level, most=float(mask.sum()) - 1) is None


def test_lists_of_a_part_of_a_wider_block():
    wide = random_bits(6, 80, 3)
    scores, level = wide[:, 16:56], wide[:, 20]

    counts, places, values = kernels.list_at_least(scores, level, most=torch.inf)

    mask = scores.float() >= level.float().unsqueeze(1)
    assert torch.equal(counts, mask.sum(1))
    assert torch.equal(places, mask.nonzero()[:, 1])
    assert torch.equal(values, scores[mask])


def test_a_list_of_nothing():
    scores = torch.full((3, 8), -1.0, dtype=torch.bfloat16)

    counts, places, values = kernels.list_at_least(scores, torch.zeros(3).bfloat16(), most=0.0)

    assert counts.tolist() == [0, 0, 0]
    assert len(places) == len(values) == 0


@pytest.mark.parametrize("columns", [39, 40])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_places_come_row_by_row(share, columns):
    mask = torch.rand(70, columns, generator=torch.Generator().manual_seed(1)) < share

    assert torch.equal(torch.stack(kernels.places(mask), 1), mask.nonzero())
    assert kernels.num_true(mask) == mask.sum()


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
