"""K-means, as clustering metrics use it.

Shapes: N rows, D embedding, K clusters.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.seeding import torch_generator

ITERATIONS = 20
_DISTANCES_AT_ONCE = 1 << 24


def kmeans(
    values: Float[Tensor, "n d"], num_clusters: int, *, iterations: int = ITERATIONS
) -> Int[Tensor, " n"]:
    """Return the cluster of each row after Lloyd's algorithm with squared Euclidean distance.

    The centres start at distinct rows drawn with a fixed seed. A cluster that runs empty takes
    the row that lies farthest from its centre. It stops early when no assignment changes.
    """
    generator = torch_generator(0, "kmeans")
    start = torch.randperm(len(values), generator=generator)[:num_clusters]
    centres = values[start.to(values.device)].float()
    before: Tensor | None = None
    for _ in range(iterations):
        cluster, distance = _nearest_centre(values.float(), centres)
        if before is not None and torch.equal(cluster, before):
            break
        before = cluster
        centres = _means(values, _without_empty(cluster, distance, num_clusters), num_clusters)
    return _nearest_centre(values.float(), centres)[0]


def _nearest_centre(values: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    half = 0.5 * centres.square().sum(1)
    found = [
        (half - rows @ centres.T).min(1)
        for rows in values.split(max(1, _DISTANCES_AT_ONCE // len(centres)))
    ]
    distance = torch.cat([block.values for block in found])
    return torch.cat([block.indices for block in found]), distance + 0.5 * values.square().sum(1)


def _without_empty(cluster: Tensor, distance: Tensor, num_clusters: int) -> Tensor:
    """Give each empty cluster one of the rows that lie farthest from their centres."""
    empty = (torch.bincount(cluster, minlength=num_clusters) == 0).nonzero().squeeze(1)
    farthest = distance.argsort(descending=True, stable=True)[: len(empty)]
    return cluster.index_put((farthest,), empty)


def _means(values: Tensor, cluster: Tensor, num_clusters: int) -> Tensor:
    sums = values.new_zeros(num_clusters, values.shape[1]).index_add_(0, cluster, values)
    counts = torch.bincount(cluster, minlength=num_clusters).clamp(min=1)
    return (sums / counts.unsqueeze(1)).float()
