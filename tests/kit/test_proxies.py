"""Initial values have the published spread; comparisons are those of the definitions."""

import math

import pytest
import torch

from harness.kit.proxies import (
    anchor_terms,
    fan_out_points,
    normal_points,
    own_class,
    smooth_normalize,
    squared_distances,
    uniform_points,
    unit_points,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


INITIAL = {
    "normal": lambda g: normal_points(300, 200, std=0.5, generator=g),
    "fan_out": lambda g: fan_out_points(300, 200, generator=g),
    "unit": lambda g: unit_points(300, 200, generator=g),
    "uniform": lambda g: uniform_points(300, 200, bound=0.3, generator=g),
}


@pytest.mark.parametrize(
    ("name", "std"),
    [
        ("normal", 0.5),
        ("fan_out", math.sqrt(2 / 300)),
        ("unit", 1 / math.sqrt(200)),  # the squares of 200 coordinates sum to one
        ("uniform", 0.3 / math.sqrt(3)),
    ],
)
def test_initial_values_have_zero_mean_and_the_stated_spread(name: str, std: float):
    points = INITIAL[name](seeded())

    assert points.requires_grad
    assert points.shape == (300, 200)
    assert abs(points.mean().item()) < 5 * std / math.sqrt(300 * 200)
    assert points.std().item() == pytest.approx(std, rel=0.01)


@pytest.mark.parametrize("name", INITIAL)
def test_initial_values_come_from_the_generator_alone(name: str):
    before = torch.get_rng_state()

    first, again, other = (INITIAL[name](seeded(seed)) for seed in (1, 1, 2))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_uniform_points_stay_inside_the_bound_and_unit_points_on_the_sphere():
    uniform, unit = INITIAL["uniform"](seeded()), INITIAL["unit"](seeded())

    assert 0.29 < uniform.abs().max() <= 0.3
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(300))


@pytest.mark.parametrize("num_classes", [1, 2, 3])
def test_own_class_has_a_column_for_every_class(num_classes: int):
    labels = torch.tensor([0, num_classes - 1, 0])

    mask = own_class(labels, num_classes)

    assert mask.shape == (3, num_classes)
    assert [row.nonzero().flatten().tolist() for row in mask] == [[0], [num_classes - 1], [0]]


def test_smooth_normalisation_by_hand():
    points = torch.tensor([[3.0, 4.0], [0.0, 0.0]]).double().requires_grad_()

    unit = smooth_normalize(points, epsilon=1e-12)
    unit[1, 0].backward()

    torch.testing.assert_close(unit[0], torch.tensor([0.6, 0.8]).double())
    assert unit[1].tolist() == [0, 0]
    assert points.grad[1].tolist() == pytest.approx([1e6, 0])  # 1 / sqrt(epsilon)


def test_squared_distances_are_sums_of_squared_differences():
    left, right = (torch.randn(n, 7, generator=seeded(n)).double() for n in (5, 3))

    found = squared_distances(left, right)

    expected = torch.stack([torch.stack([((a - b) ** 2).sum() for b in right]) for a in left])
    torch.testing.assert_close(found, expected)


def test_anchor_terms_by_hand():
    cosine = torch.tensor([[0.5, -0.2], [0.9, 0.1]]).double()
    own = torch.tensor([[True, False], [True, False]])
    weights = torch.tensor([[1.0, 2.0], [0.5, 1.0]]).double()

    found = anchor_terms(cosine, own, alpha=4.0, delta=0.1, weights=weights)

    near = math.exp(4 * (0.1 - 0.5)) + math.exp(4 * (0.1 - 0.9) * 0.5)
    far = math.exp(4 * (-0.2 + 0.1) * 2) + math.exp(4 * (0.1 + 0.1))
    assert found.positive.tolist() == pytest.approx([math.log(1 + near), 0])
    assert found.negative.tolist() == pytest.approx([0, math.log(1 + far)])


def test_anchor_terms_do_not_overflow():
    cosine = torch.full((2, 2), 0.9)

    found = anchor_terms(cosine, own_class(torch.tensor([0, 0]), 2), alpha=1000.0, delta=0.1)

    assert found.negative.tolist() == pytest.approx([0, 1000 + math.log(2)])
