"""How Revisiting Training Strategies picks batches by their embeddings: rules, not samplers.

Its four data-mining samplers cut batches out of a large random one by the current embeddings of
the training set. None is registered as a sampler, for two reasons. A batch here is a function of
seed and epoch alone, which is what lets a run that was cut off resume to the same numbers, and no
embedding is one. And the published code does not do what it describes: both coreset samplers look
their picks up in an unrelated list of random rows, so their batches are random, and
`fid_batchmatch` stops with a NameError. The rules stand here as pure functions, for whoever
builds such a sampler.

Shapes: N rows of a large batch, D embedding, M rows of a subset. Computed in float64.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

COVARIANCE_OFFSET = 1e-8  # on the diagonal, so that a root exists


def squared_distances(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n n"]:
    """Return squared Euclidean distances between all rows."""
    values = rows.astype(np.float64)
    squares = np.square(values).sum(1)
    found = squares[:, None] + squares - 2 * values @ values.T
    np.fill_diagonal(found, 0)
    return np.maximum(found, 0)


# --- coresets -----------------------------------------------------------------------------------


def greedy_coreset(rows: Float[np.ndarray, "n d"], *, count: int, first: int) -> list[int]:
    """Return rows that cover the batch: each pick is the one farthest from those before it.

    A row's score is its squared distance to the nearest pick, but at most the norm of its row of
    the matrix of squared distances, which the authors start from.

    Args:
        rows: The batch to cover.
        count: How many to pick.
        first: The first pick.
    """
    squared = squared_distances(rows)
    score = np.minimum(np.linalg.norm(squared, axis=1), squared[first])
    picks = [first]
    while len(picks) < count:
        picks.append(int(score.argmax()))
        score = np.minimum(score, squared[picks[-1]])
    return picks


def nearest_to(point: Float[np.ndarray, " d"], rows: Float[np.ndarray, "n d"]) -> int:
    """Return the row nearest to a point; the authors draw it from the batch's Gaussian."""
    return int(np.linalg.norm(rows - point, axis=1).argmin())


def d2_probability(
    rows: Float[np.ndarray, "n d"], picks: list[int], *, exponent: float
) -> Float[np.ndarray, " n"]:
    """Return how likely each row is the next of a D^2 coreset; 0 for the picks.

    p_i ~ N(x_i; mean, covariance) * (sum over picks s of |x_i - x_s|^2)^exponent, the Gaussian
    fitted to all rows.
    """
    values = rows.astype(np.float64)
    centred = values - values.mean(0)
    precision = np.linalg.pinv(_covariance(values), hermitian=True)
    mahalanobis = np.einsum("nd,de,ne->n", centred, precision, centred)
    density = np.exp(-(mahalanobis - mahalanobis.min()) / 2)
    weights = density * squared_distances(rows)[picks].sum(0) ** exponent
    weights[picks] = 0
    total = weights.sum()
    return weights / total if total > 0 else weights


def d2_coreset(
    rows: Float[np.ndarray, "n d"],
    *,
    count: int,
    start: int,
    exponent: float,
    choose: Callable[[Float[np.ndarray, " n"]], int],
) -> list[int]:
    """Return rows that are typical of the batch and far from one another.

    Args:
        rows: The batch to pick from.
        count: How many to pick.
        start: The first pick; see `nearest_to`.
        exponent: Weight of being far, 1 in the authors' code.
        choose: Draws a row from probabilities.
    """
    picks = [start]
    while len(picks) < count:
        picks.append(int(choose(d2_probability(rows, picks, exponent=exponent))))
    return picks


# --- matching a subset to the batch -------------------------------------------------------------


def distance_histogram_cost(
    rows: Float[np.ndarray, "n d"],
    subset: Int[np.ndarray, " m"],
    *,
    bins: int = 50,
    weights: tuple[float, float, float] = (1.0, 1.0, 75.0),
) -> float:
    """Return how unlike the whole batch a subset is, by moments and by its distances.

    w_0 |mean - mean'| + w_1 |std - std'| + w_2 * 2 W, with W the mean difference of the sorted
    shares of the two histograms of distances, over the range of the batch's. As published, W
    compares which shares occur, not where, and is counted twice.
    """
    values, chosen = rows.astype(np.float64), rows[subset].astype(np.float64)
    apart = _distances(values)
    limits = (float(apart.min()), float(apart.max()))
    shares = [
        np.sort(_shares(np.histogram(found, bins=bins, range=limits)[0]))
        for found in (apart, _distances(chosen))
    ]
    moved = np.abs(shares[0] - shares[1]).mean()
    means = np.linalg.norm(values.mean(0) - chosen.mean(0))
    spreads = np.linalg.norm(values.std(0) - chosen.std(0))
    return float(weights[0] * means + weights[1] * spreads + weights[2] * 2 * moved)


def frechet_cost(rows: Float[np.ndarray, "n d"], subset: Int[np.ndarray, " m"]) -> float:
    """Return the Fréchet distance between the Gaussians of a subset and of the whole batch.

    |mean - mean'|^2 + tr(C) + tr(C') - 2 tr((C C')^(1/2)), with 1e-8 on both diagonals under the
    root.
    """
    values, chosen = rows.astype(np.float64), rows[subset].astype(np.float64)
    one, two = _covariance(values), _covariance(chosen)
    offset = COVARIANCE_OFFSET * np.eye(len(one))
    sizes, axes = np.linalg.eigh(one + offset)
    root = (axes * np.sqrt(np.maximum(sizes, 0))) @ axes.T
    # root C' root is symmetric and has the eigenvalues of C C'
    shared = np.linalg.eigvalsh(root @ (two + offset) @ root)
    means = np.square(values.mean(0) - chosen.mean(0)).sum()
    trace = np.sqrt(np.maximum(shared, 0)).sum()
    return float(means + np.trace(one) + np.trace(two) - 2 * trace)


def _covariance(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d d"]:
    return np.atleast_2d(np.cov(rows.T))


def _distances(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " pairs"]:
    return np.sqrt(squared_distances(rows)[np.triu_indices(len(rows), 1)])


def _shares(counts: Int[np.ndarray, " bins"]) -> Float[np.ndarray, " bins"]:
    return counts / max(1, counts.sum())
