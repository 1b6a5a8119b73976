"""The Poincaré ball against its definitions, at its edge, and in what it promises a training."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from harness.api import HarnessError
from harness.kit.hyperbolic import (
    PoincareBall,
    ToBall,
    artanh,
    clip_length,
    riemannian_gradient,
)

DOUBLE = torch.float64


def features(rows: int, dim: int, *, seed: int = 0, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, dim, generator=generator, dtype=DOUBLE)


def points(rows: int, dim: int, *, c: float = 0.1, seed: int = 0, scale: float = 1.0) -> Tensor:
    return ToBall(c)(features(rows, dim, seed=seed, scale=scale))


# --- a literal twin: every pair from the Möbius sum, in plain floats --------------------------


def twin_distance(x: list[float], y: list[float], c: float) -> float:
    product = sum(-a * b for a, b in zip(x, y, strict=True))
    of_x, of_y = sum(a * a for a in x), sum(b * b for b in y)
    bottom = 1 + 2 * c * product + c * c * of_x * of_y + 1e-5
    top = [
        (1 + 2 * c * product + c * of_y) * -a + (1 - c * of_x) * b
        for a, b in zip(x, y, strict=True)
    ]
    length = math.sqrt(sum(t * t for t in top)) / bottom
    return 2 / math.sqrt(c) * math.atanh(min(math.sqrt(c) * length, 1 - 1e-5))


@pytest.mark.parametrize("c", [0.01, 0.1, 1.0])
def test_every_distance_is_that_of_the_moebius_sum(c: float):
    x, y = points(5, 4, c=c), points(7, 4, c=c, seed=1, scale=9)

    found = PoincareBall(c).distances(x, y)

    expected = [[twin_distance(a, b, c) for b in y.tolist()] for a in x.tolist()]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=DOUBLE), rtol=1e-9, atol=1e-9)


def test_gradients_of_the_matrix_are_those_of_the_moebius_sum():
    ball, weight = PoincareBall(0.1), features(6, 4, seed=2)
    x, y = points(6, 5).requires_grad_(), points(4, 5, seed=1).requires_grad_()

    found = torch.autograd.grad((weight * ball.distances(x, y)).sum(), [x, y])

    rows = x[:, None].expand(6, 4, 5).reshape(24, 5)
    columns = y[None].expand(6, 4, 5).reshape(24, 5)
    expected = torch.autograd.grad((weight.view(-1) * ball.distance(rows, columns)).sum(), [x, y])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_gradients_of_the_map_into_the_ball_agree_with_finite_differences():
    x = features(3, 4, scale=1.5).requires_grad_()

    assert torch.autograd.gradcheck(ToBall(0.1, clip_radius=2.3), (x,))


def test_by_hand_on_a_diameter():
    # On a line through the origin distances add up: d(-x, y) = d(0, x) + d(0, y).
    ball = PoincareBall(1.0)
    x, y, origin = torch.tensor([[0.6, 0.0], [-0.5, 0.0], [0.0, 0.0]], dtype=DOUBLE).split(1)

    found = ball.distances(x, y).item()

    assert found == pytest.approx(2 * math.atanh(0.6) + 2 * math.atanh(0.5), abs=1e-4)
    assert ball.distances(x, origin).item() == pytest.approx(2 * math.atanh(0.6), abs=1e-4)


def test_distances_of_points_to_themselves_are_zero_without_a_gradient():
    x = points(6, 16).float().requires_grad_()

    diagonal = PoincareBall(0.1).distances(x, x).diagonal()

    assert torch.equal(diagonal, torch.zeros(6))
    (gradient,) = torch.autograd.grad(diagonal.sum(), x)
    assert torch.equal(gradient, torch.zeros_like(x))


def test_equal_points_of_two_tensors_have_finite_gradients():
    x = points(4, 8).float().requires_grad_()
    y = x.detach().clone()

    distances = PoincareBall(0.1).distances(x, y)
    (gradient,) = torch.autograd.grad(distances.sum(), x)

    assert distances.diagonal().max() < 5e-3
    assert gradient.isfinite().all()


def test_float32_distances_are_those_of_float64_to_rounding():
    x, y = points(50, 128), points(60, 128, seed=1)

    found = PoincareBall(0.1).distances(x.float(), y.float())

    exact = PoincareBall(0.1).distances(x, y)
    assert ((found - exact).abs() / exact).max() < 2e-6


def test_float32_distances_near_the_edge_are_those_of_float64_too():
    ball = PoincareBall(0.1)
    x, y = (ball.project(features(40, 16, seed=seed, scale=9).float()) for seed in (0, 1))

    found = ball.distances(x, y)

    exact = ball.distances(x.double(), y.double())
    assert exact.max() > 30  # beyond what 1 - a^2 in float32 can tell
    assert ((found - exact).abs() / exact).max() < 2e-5


@given(
    c=st.sampled_from([0.05, 0.1, 1.0]),
    seed=st.integers(0, 10_000),
    scale=st.floats(0.01, 100, allow_nan=False),
)
def test_metric_axioms_hold_up_to_the_constant_in_the_denominator(c, seed, scale):
    x = points(6, 3, c=c, seed=seed, scale=scale)

    distances = PoincareBall(c).distances(x, x)

    assert (distances >= 0).all()
    torch.testing.assert_close(distances, distances.T, rtol=1e-7, atol=1e-6)
    detour = (distances[:, :, None] + distances[None]).amin(1)
    # the 1e-5 shortens long distances: at most by a part in a thousand here
    assert (distances <= detour * (1 + 1e-3) + 1e-6).all()


@given(st.floats(0.02, 2), st.integers(0, 10_000))
def test_rotating_all_points_changes_no_distance(c, seed):
    x = points(5, 4, c=c, seed=seed)
    rotation, _ = torch.linalg.qr(features(4, 4, seed=seed + 1))
    rotated = x @ rotation

    found = PoincareBall(c).distances(rotated, rotated)

    torch.testing.assert_close(found, PoincareBall(c).distances(x, x), rtol=1e-7, atol=1e-7)


# --- maps ------------------------------------------------------------------------------------


@pytest.mark.parametrize("c", [0.1, 1.0])
def test_maps_are_undone_by_their_inverses(c: float):
    ball, tangent = PoincareBall(c), features(5, 3, scale=0.3)
    x, y = points(5, 3, c=c, seed=1, scale=0.3), points(5, 3, c=c, seed=2, scale=0.3)

    torch.testing.assert_close(ball.log0(ball.exp0(tangent)), tangent)
    torch.testing.assert_close(ball.exp(x, ball.log(x, y)), y, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ball.from_klein(ball.to_klein(x)), x)


def test_the_origin_is_neutral():
    ball, x = PoincareBall(0.3), points(4, 3, c=0.3)
    origin = torch.zeros_like(x)

    torch.testing.assert_close(ball.add(origin, x), x, rtol=2e-5, atol=0)
    torch.testing.assert_close(
        ball.distance_to_origin(x), ball.distance(origin, x), rtol=1e-4, atol=0
    )
    assert torch.equal(ball.exp0(origin), origin)


def test_no_point_leaves_the_ball():
    for c in (0.1, 1.0):
        norms = ToBall(c, clip_radius=None)(features(20, 3, scale=1e4)).norm(dim=1)

        assert norms.max() <= 0.999 / math.sqrt(c) + 1e-12


def test_clipping_shortens_long_features_only():
    x = torch.tensor([[3.0, 4.0], [0.3, 0.4]], dtype=DOUBLE)

    found = clip_length(x, 1.0)

    torch.testing.assert_close(
        found.norm(dim=1), torch.tensor([1.0, 0.5], dtype=DOUBLE), rtol=3e-6, atol=0
    )


def test_clipping_to_zero_gives_the_origin_and_no_clipping_is_none():
    x = features(3, 4, scale=50)

    assert torch.equal(ToBall(0.1, clip_radius=0.0)(x), torch.zeros_like(x))
    assert ToBall(0.1, clip_radius=None)(x).norm(dim=1).min() > ToBall(0.1)(x).norm(dim=1).max()


def test_two_balls_keep_their_own_curvature():
    x = features(4, 3).requires_grad_()
    first = ToBall(0.1, riemannian=True)
    (alone,) = torch.autograd.grad(first(x).sum(), x)

    ToBall(0.9, riemannian=True)(x)
    (again,) = torch.autograd.grad(first(x).sum(), x)

    assert torch.equal(alone, again)


def test_riemannian_switch_changes_gradients_only():
    z = points(4, 3, c=0.5).requires_grad_()

    switched = riemannian_gradient(z, 0.5)
    (gradient,) = torch.autograd.grad(switched.sum(), z)

    assert torch.equal(switched, z)
    expected = (1 - 0.5 * z.square().sum(1, keepdim=True)) ** 2 / 4
    torch.testing.assert_close(gradient, expected.expand_as(z))


def test_points_too_far_apart_still_have_a_gradient():
    x = torch.tensor([0.5, 1.0, 3.0], dtype=DOUBLE, requires_grad=True)

    values = artanh(x)
    (gradient,) = torch.autograd.grad(values.sum(), x)

    edge = 1 - 1e-5
    assert values.tolist() == pytest.approx([math.atanh(0.5), math.atanh(edge), math.atanh(edge)])
    assert gradient.tolist() == pytest.approx([1 / 0.75] + 2 * [1 / (1 - edge**2)])


def test_zero_features_have_finite_gradients():
    x = torch.zeros(2, 3, dtype=DOUBLE, requires_grad=True)

    (gradient,) = torch.autograd.grad(ToBall(0.1, riemannian=True)(x).sum(), x)

    assert gradient.isfinite().all()


# --- promises --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype):
    x = features(6, 8).to(dtype)

    z = ToBall(0.1)(x)

    assert torch.equal(z, ToBall(0.1)(x.float()))
    assert PoincareBall(0.1).distances(z.to(dtype), z.to(dtype)).dtype == torch.float32


def test_autocast_changes_no_distance():
    x, y, ball = points(6, 8).float(), points(6, 8, seed=1).float(), PoincareBall(0.1)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = ball.distances(x, y), ball.multiply(y, x)

    assert torch.equal(inside[0], ball.distances(x, y))
    assert torch.equal(inside[1], ball.multiply(y, x))


def test_no_tensor_grows_with_points_times_points_times_dimensions():
    x, y = points(40, 64).requires_grad_(), points(50, 64, seed=1).requires_grad_()
    sizes: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, note):
        PoincareBall(0.1).distances(x, y).sum().backward()

    assert max(sizes) <= 50 * 64


@pytest.mark.parametrize("c", [0.0, -1.0, float("nan")])
def test_a_ball_without_curvature_is_refused(c: float):
    with pytest.raises(HarnessError, match=f"curvature c above 0, got {c}") as caught:
        PoincareBall(c)

    assert caught.value.hint == "set c: 0.1"
