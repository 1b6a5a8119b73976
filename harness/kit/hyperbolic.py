"""The Poincaré ball of curvature -c, as the code of Hyp and of HIER computes in it.

The ball has radius 1/sqrt(c). Two constants of the published code are part of its numbers and are
kept: a Möbius denominator carries + 1e-5, and an inverse hyperbolic tangent sees at most 1 - 1e-5.

Half precision is too coarse here (a distance of 8 would be off by 0.003, and a point would not be
at distance 0 from itself): half-precision inputs are computed and returned in float32, whatever
autocast is in force. The published code of HIER computes in half precision.

Shapes: N points, M other points, D dimension of the ball, K dimension of another ball.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from harness.errors import HarnessError
from harness.kit.precision import at_least_single

DENOMINATOR = 1e-5  # added to the Möbius denominator
SMALLEST_NORM = 1e-5  # a shorter vector is divided by this instead of by its norm
BOUNDARY = 1e-3  # no point lies closer than this to the edge of the ball of radius 1
LARGEST_TANH = 15.0
LARGEST_ARTANH = 1 - 1e-5
CLIP_SHIFT = 1e-5  # added to a norm before it is compared with the clipping radius


@dataclass(frozen=True, slots=True)
class PoincareBall:
    """The ball of curvature -c.

    Points are rows. Unless a method says otherwise they lie inside the ball, and so does what it
    returns.

    Attributes:
        c: Minus the curvature, above 0.

    Raises:
        HarnessError: c is not above 0; without curvature there is no ball.
    """

    c: float

    def __post_init__(self) -> None:
        """Refuse a ball of infinite radius."""
        if not self.c > 0:
            raise HarnessError(
                f"a Poincaré ball needs curvature c above 0, got {self.c}", hint="set c: 0.1"
            )

    # --- into the ball and out of it ------------------------------------------------------------

    def exp0(self, tangent: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """Map tangent vectors at the origin into the ball: tanh(sqrt(c) |u|) u / (sqrt(c) |u|)."""
        tangent = at_least_single(tangent)
        length = math.sqrt(self.c) * _norm(tangent).clamp(min=SMALLEST_NORM)
        return length.clamp(max=LARGEST_TANH).tanh() * tangent / length

    def log0(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """Map points back to the tangent space at the origin; the inverse of `exp0`."""
        x = at_least_single(x)
        length = math.sqrt(self.c) * _norm(x).clamp(min=SMALLEST_NORM)
        return x / length * artanh(length)

    def exp(self, x: Float[Tensor, "*n d"], tangent: Float[Tensor, "*n d"]) -> Tensor:
        """Follow tangent vectors at the points x."""
        x, tangent = at_least_single(x), at_least_single(tangent)
        length = math.sqrt(self.c) * _norm(tangent).clamp(min=SMALLEST_NORM)
        step = (self.conformal(x) * length / 2).clamp(max=LARGEST_TANH).tanh() * tangent / length
        return self.add(x, step)

    def log(self, x: Float[Tensor, "*n d"], y: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """Return the tangent vectors at x that lead to y."""
        difference = self.add(-x, y)
        length = math.sqrt(self.c) * _norm(difference)
        return 2 / self.conformal(x) * artanh(length) * difference / length

    def project(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """Draw points that lie outside, or less than 0.1 % from the edge, back to that place."""
        x = at_least_single(x)
        norm = _norm(x).clamp(min=SMALLEST_NORM)
        largest = (1 - BOUNDARY) / math.sqrt(self.c)
        return torch.where(norm > largest, x / norm * largest, x)

    # --- inside ---------------------------------------------------------------------------------

    def add(self, x: Float[Tensor, "*n d"], y: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """Return the Möbius sum of x and y, row by row."""
        x, y = at_least_single(x), at_least_single(y)
        c, product = self.c, (x * y).sum(-1, keepdim=True)
        of_x, of_y = _square(x), _square(y)
        numerator = (1 + 2 * c * product + c * of_y) * x + (1 - c * of_x) * y
        return numerator / (1 + 2 * c * product + c**2 * of_x * of_y + DENOMINATOR)

    def multiply(self, matrix: Float[Tensor, "k d"], x: Float[Tensor, "n d"]) -> Tensor:
        """Return the Möbius product of a matrix with points, (N, K); 0 where the product is 0."""
        with torch.autocast(x.device.type, enabled=False):
            x = at_least_single(x)
            moved = x @ at_least_single(matrix).T
        norm, root = _norm(moved), math.sqrt(self.c)
        length = norm / _norm(x) * artanh(root * _norm(x))
        result = length.clamp(max=LARGEST_TANH).tanh() * moved / (norm * root)
        return self.project(torch.where(norm == 0, 0, result))

    def conformal(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n 1"]:
        """Return the factor 2 / (1 - c |x|^2) by which the ball stretches lengths at x."""
        return 2 / (1 - self.c * _square(at_least_single(x)))

    # --- distances ------------------------------------------------------------------------------

    def distance(self, x: Float[Tensor, "*n d"], y: Float[Tensor, "*n d"]) -> Float[Tensor, "*n"]:
        """Return the distance of x and y, row by row."""
        root = math.sqrt(self.c)
        return 2 / root * artanh(root * _norm(self.add(-x, y))).squeeze(-1)

    def distance_to_origin(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n"]:
        """Return the distance of each point to the origin."""
        root = math.sqrt(self.c)
        return 2 / root * artanh(root * _norm(at_least_single(x))).squeeze(-1)

    def distances(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Return the distance of every x to every y; the ranking distance of Hyp and HIER.

        With s = |x - y|^2 the Möbius difference has the norm sqrt(s u) / (u + 1e-5), where
        u = (1 - c |x|^2) (1 - c |y|^2) + c s, so one matrix product replaces the (N, M, D) tensor
        of the published code. Where y is x, the diagonal is exactly 0; elsewhere the distance of
        equal points is a rounding error, 1e-3 in float32. The gradient at distance 0 is 0.
        """
        same = x is y
        with torch.autocast(x.device.type, enabled=False):
            x, y = at_least_single(x), at_least_single(y)
            products = x @ y.T
        of_x = products.diagonal() if same else _square(x).squeeze(-1)
        of_y = of_x if same else _square(y).squeeze(-1)
        squared = of_x[:, None] + of_y - 2 * products
        edge = (1 - self.c * of_x)[:, None] * (1 - self.c * of_y)
        room = edge + self.c * squared
        root = math.sqrt(self.c)
        length = root * _root(squared * room) / (room + DENOMINATOR)
        with torch.no_grad():
            # 1 - length^2, which near the edge of the ball is lost in a difference
            rest = (room * (edge + 2 * DENOMINATOR) + DENOMINATOR**2) / (room + DENOMINATOR) ** 2
        return 2 / root * artanh(length, rest)

    # --- the Klein model, and means -------------------------------------------------------------

    def to_klein(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """Return points in the coordinates of the Klein model: 2 x / (1 + c |x|^2)."""
        return 2 * x / (1 + self.c * _square(x))

    def from_klein(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """Return points of the Klein model in the ball's coordinates."""
        return x / (1 + (1 - self.c * _square(x)).sqrt())

    def lorentz_factor(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n 1"]:
        """Return 1 / sqrt(1 - c |x|^2) of points of the Klein model."""
        return (1 - self.c * _square(x)).rsqrt()

    def mean(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " d"]:
        """Return the Einstein midpoint of points."""
        klein = self.to_klein(at_least_single(x))
        weight = self.lorentz_factor(klein)
        return self.from_klein((weight * klein).sum(0) / weight.sum())


class ToBall(nn.Module):
    """Features (N, D) to points of a ball: clip, `exp0`, `project`.

    Attributes:
        ball: Where the points lie.
        clip_radius: Longer features are shortened to about this length first; None clips nothing.
            With 0 every point is the origin, as in the published code.
        riemannian: Whether gradients with respect to a point are scaled by the inverse metric
            (1 - c |z|^2)^2 / 4 on their way back (HIER does, Hyp does not). The published code
            keeps the curvature of this step on the class, so that a second ball changes the
            first; here it belongs to the instance.
    """

    def __init__(
        self, c: float, *, clip_radius: float | None = 2.3, riemannian: bool = False
    ) -> None:
        super().__init__()
        self.ball = PoincareBall(c)
        self.clip_radius = clip_radius
        self.riemannian = riemannian

    def forward(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return the points of the ball."""
        features = at_least_single(features)
        if self.clip_radius is not None:
            features = clip_length(features, self.clip_radius)
        points = self.ball.project(self.ball.exp0(features))
        return riemannian_gradient(points, self.ball.c) if self.riemannian else points

    def extra_repr(self) -> str:
        """Return what distinguishes this map when a model is printed."""
        return f"c={self.ball.c}, clip_radius={self.clip_radius}, riemannian={self.riemannian}"


def clip_length(x: Float[Tensor, "n d"], radius: float) -> Float[Tensor, "n d"]:
    """Shorten vectors with |x| + 1e-5 above `radius`: x min(1, radius / (|x| + 1e-5))."""
    return x * (radius / (_norm(x) + CLIP_SHIFT)).clamp(max=1)


def riemannian_gradient(points: Float[Tensor, "n d"], c: float) -> Float[Tensor, "n d"]:
    """Return the points; on the way back their gradients are scaled by (1 - c |z|^2)^2 / 4."""
    return _RiemannianGradient.apply(points, c)  # pyright: ignore[reportReturnType] - untyped


def artanh(x: Tensor, rest: Tensor | None = None) -> Tensor:
    """Return the inverse hyperbolic tangent of x, clamped to ±(1 - 1e-5).

    The gradient is that of the clamped value even outside, 1 / (1 - a^2), so that points which
    are too far apart still move.

    Args:
        x: Not below 0 where `rest` is given.
        rest: 1 - x^2, for whoever knows it better than that difference.
    """
    if rest is None:
        clamped = x.detach().clamp(-LARGEST_ARTANH, LARGEST_ARTANH)
        rest = (1 - clamped) * (1 + clamped)
    return _Artanh.apply(x, rest)  # pyright: ignore[reportReturnType] - untyped


def _square(x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n 1"]:
    return x.square().sum(-1, keepdim=True)


def _norm(x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n 1"]:
    """Return lengths; the gradient at the zero vector is 0."""
    return x.norm(dim=-1, keepdim=True)


def _root(x: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
    """Return square roots, 0 of what rounding made negative; the gradient there is 0."""
    positive: Bool[Tensor, "n m"] = x > 0
    return torch.where(positive, torch.where(positive, x, 1).sqrt(), 0)


class _Artanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, rest: Tensor) -> Tensor:
        clamped = x.abs().clamp(max=LARGEST_ARTANH)
        rest = rest.clamp(min=1 - LARGEST_ARTANH**2)
        ctx.save_for_backward(rest)
        return x.sign() * (clamped.log1p() - rest.log() / 2)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - torch's is untyped
        ctx: FunctionCtx, gradient: Tensor
    ) -> tuple[Tensor, None]:
        (rest,) = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue] - untyped
        return gradient / rest, None


class _RiemannianGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, points: Tensor, c: float) -> Tensor:
        ctx.save_for_backward(points)
        ctx.c = c  # pyright: ignore[reportAttributeAccessIssue] - a place to keep values
        return points.view_as(points)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - torch's is untyped
        ctx: FunctionCtx, gradient: Tensor
    ) -> tuple[Tensor, None]:
        (points,) = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue]
        room = 1 - ctx.c * _square(points)  # pyright: ignore[reportAttributeAccessIssue]
        return gradient * room.square() / 4, None
