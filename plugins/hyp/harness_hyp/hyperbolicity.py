"""How close a set of points is to a tree (Gromov's delta), from which Hyp chooses a curvature.

Shapes: N points, D dimensions.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from harness.api import torch_generator

TREE_DELTA = 0.144  # relative delta of the ball of curvature -1, as the authors measured it


class Hyperbolicity(NamedTuple):
    """Facts about a set of points.

    Attributes:
        delta: Largest amount by which a triple breaks the condition of a tree.
        diameter: Largest distance.
    """

    delta: Float[Tensor, ""]
    diameter: Float[Tensor, ""]

    @property
    def relative_delta(self) -> Float[Tensor, ""]:
        """2 delta / diameter, in [0, 1]: 0 for a tree; 0 for points that all coincide."""
        smallest = torch.finfo(self.diameter.dtype).tiny
        return 2 * self.delta / self.diameter.clamp(min=smallest)

    @property
    def curvature(self) -> Float[Tensor, ""]:
        """The c that suits the points: (0.144 / relative delta)^2."""
        return (TREE_DELTA / self.relative_delta).square()


@runtime_checkable
class _Side(Protocol):
    @property
    def values(self) -> Tensor: ...
    @property
    def sample_ids(self) -> Tensor: ...


@runtime_checkable
class _Ranked(Protocol):
    """What the metric reads of a ranking."""

    @property
    def query(self) -> _Side: ...


def hyperbolicity(points: Float[Tensor, "n d"]) -> Hyperbolicity:
    """Return delta and diameter under the Euclidean distance, with the first point as base.

    With the Gromov products (x|y) = (d(x,o) + d(y,o) - d(x,y)) / 2,
    delta = max over x, y, z of min((x|z), (z|y)) - (x|y). One row at a time: N^2 numbers.
    """
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    to_base = distances[0]
    products = (to_base[:, None] + to_base - distances) / 2
    rows = [torch.minimum(row, products).amax(1) - row for row in products]
    return Hyperbolicity(torch.stack(rows).amax(), distances.amax())


def delta_hyperbolicity(ranking: _Ranked, *, num_points: int, num_draws: int) -> float:
    """Return the relative delta of the queries, the mean of draws from fixed streams.

    The authors take training features of the backbone (`evaluation.layer: features`); delta of
    embeddings tells what the head made of them.
    """
    # in the order of their ids, so that draws and base do not depend on the order of the queries
    values = ranking.query.values[ranking.query.sample_ids.argsort()]
    if len(values) <= num_points:
        return float(hyperbolicity(values).relative_delta)
    found = [
        hyperbolicity(values[_drawn(len(values), num_points, draw).to(values.device)])
        for draw in range(num_draws)
    ]
    return float(torch.stack([each.relative_delta for each in found]).double().mean())


def _drawn(total: int, count: int, draw: int) -> Tensor:
    generator = torch_generator(0, "delta_hyperbolicity", draw)
    return torch.randperm(total, generator=generator)[:count]
