"""Clustering metrics: does k-means on the queries find their classes?

Shapes: N items, C classes, K clusters. All logarithms are natural.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray
from scipy.special import gammaln
from torch import Tensor

from harness.evaluation.ranking import Ranking


class Contingency(NamedTuple):
    """How classes and clusters overlap.

    Attributes:
        cells: Sizes of the overlaps that are not empty.
        class_index, cluster_index: Which class and cluster each of them belongs to.
        classes: (C,) sizes.
        clusters: (K,) sizes, none zero.
    """

    cells: NDArray[np.int64]
    class_index: NDArray[np.int64]
    cluster_index: NDArray[np.int64]
    classes: NDArray[np.int64]
    clusters: NDArray[np.int64]


def contingency(labels: Int[Tensor, " n"], clusters: Int[Tensor, " n"]) -> Contingency:
    """Count the items in each pair of class and cluster."""
    class_of, sizes = _compact(labels)
    cluster_of, cluster_sizes = _compact(clusters)
    pair = class_of * len(cluster_sizes) + cluster_of
    pairs, cells = np.unique(pair, return_counts=True)
    return Contingency(cells, *divmod(pairs, len(cluster_sizes)), sizes, cluster_sizes)


def _compact(values: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    _, index, counts = np.unique(values.cpu().numpy(), return_inverse=True, return_counts=True)
    return index, counts


def _entropy(sizes: NDArray[Any]) -> float:
    share = sizes / sizes.sum()
    return float(-(share * np.log(share)).sum())


def _mutual_information(table: Contingency) -> float:
    total = table.cells.sum()
    expected = table.classes[table.class_index] * (table.clusters[table.cluster_index] / total)
    return float((table.cells / total * np.log(table.cells / expected)).sum())


def normalized_mutual_information(table: Contingency) -> float:
    """Return I(class; cluster) / ((H(class) + H(cluster)) / 2), in [0, 1].

    One class in one cluster is 1; the arithmetic mean is scikit-learn's default since 0.22.
    """
    scale = (_entropy(table.classes) + _entropy(table.clusters)) / 2
    return min(1.0, max(0.0, _mutual_information(table) / scale)) if scale > 0 else 1.0


def adjusted_mutual_information(table: Contingency) -> float:
    """Return (I - E[I]) / ((H(class) + H(cluster)) / 2 - E[I]), at most 1 and 0 by chance.

    E[I] is the expectation over random assignments with the same sizes (Vinh, Epps and Bailey,
    JMLR 11, 2010, eq. 24a).
    """
    if len(table.classes) == len(table.clusters) == 1:
        return 1.0
    chance = _expected_information(table)
    scale = (_entropy(table.classes) + _entropy(table.clusters)) / 2 - chance
    gain = _mutual_information(table) - chance
    return gain / scale if abs(scale) > math.ulp(1.0) else 1.0


def _expected_information(table: Contingency) -> float:
    """Sum over the distinct (class size, cluster size) pairs, each weighted by how often it is."""
    total = int(table.cells.sum())
    log_factorial = gammaln(np.arange(total + 2, dtype=np.float64) + 1)
    expected = 0.0
    for a, times_a in zip(*np.unique(table.classes, return_counts=True), strict=True):
        for b, times_b in zip(*np.unique(table.clusters, return_counts=True), strict=True):
            n = np.arange(max(1, a + b - total), min(a, b) + 1)
            log_chance = (
                log_factorial[a]
                + log_factorial[b]
                + log_factorial[total - a]
                + log_factorial[total - b]
                - log_factorial[total]
                - log_factorial[n]
                - log_factorial[a - n]
                - log_factorial[b - n]
                - log_factorial[total - a - b + n]
            )
            information = n / total * np.log(total * n / (a * b))
            expected += float((information * np.exp(log_chance)).sum()) * times_a * times_b
    return expected


def pairwise_f1_of(table: Contingency) -> float:
    """Return 2 TP / (pairs in classes + pairs in clusters), in [0, 1]; 1 without any pair."""

    def pairs(sizes: NDArray[np.int64]) -> int:
        return int((sizes * (sizes - 1) // 2).sum())

    same = pairs(table.classes) + pairs(table.clusters)
    return 2 * pairs(table.cells) / same if same else 1.0


def _table(ranking: Ranking) -> Contingency:
    return contingency(ranking.query.labels, ranking.clusters)


def nmi(ranking: Ranking) -> float:
    """Return normalised mutual information of classes and k-means clusters, in [0, 1].

    I(class; cluster) / ((H(class) + H(cluster)) / 2), with as many clusters as the queries have
    classes; all queries count, lone ones too.
    """
    return normalized_mutual_information(_table(ranking))


def ami(ranking: Ranking) -> float:
    """Return mutual information of classes and k-means clusters, adjusted for chance.

    (I - E[I]) / ((H(class) + H(cluster)) / 2 - E[I]): 1 is perfect, 0 is chance, and worse than
    chance is negative.
    """
    return adjusted_mutual_information(_table(ranking))


def pairwise_f1(ranking: Ranking) -> float:
    """Return F1 of "same cluster" as a prediction of "same class" over all pairs, in [0, 1].

    2 TP / (pairs of one class + pairs of one cluster), as the authors of arXiv:2002.08473 do, but
    with as many clusters as the queries, not the training images, have classes.
    """
    return pairwise_f1_of(_table(ranking))
