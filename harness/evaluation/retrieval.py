"""Retrieval metrics: pure functions of a ranking, means over the queries that are not lone.

Notation: R_q relevant items of query q, rel_q(i) 1 if the item at rank i is relevant and else 0,
P_q(i) = (1/i) * sum over j <= i of rel_q(j), f_q the rank of the first relevant item.
"""

from __future__ import annotations

from jaxtyping import Shaped
from torch import Tensor

from harness.errors import HarnessError
from harness.evaluation.ranking import Ranking


def mean_over_queries(ranking: Ranking, values: Shaped[Tensor, " q"]) -> float:
    """Return the float64 mean of one value per query, lone queries left out.

    Raises:
        HarnessError: Every query is lone.
    """
    counted = values[ranking.has_relevant].double()
    if len(counted) == 0:
        raise HarnessError(
            f"none of the {ranking.num_queries} queries has a relevant item in the gallery",
            hint="classes need at least 2 images, or a gallery that holds their class",
        )
    return float(counted.mean())


def map_at_r(ranking: Ranking) -> float:
    """Return mean average precision at R, in [0, 1] (arXiv:2003.08505, eq. 2).

    mean over q of (1 / R_q) * sum over i <= R_q of rel_q(i) P_q(i)
    """
    return mean_over_queries(ranking, ranking.average_precision_at_r)


def r_precision(ranking: Ranking) -> float:
    """Return mean precision among the first R, in [0, 1].

    mean over q of (1 / R_q) * sum over i <= R_q of rel_q(i)
    """
    return mean_over_queries(ranking, ranking.r_precision)


def precision_at_1(ranking: Ranking) -> float:
    """Return the share of queries whose nearest neighbour is relevant, in [0, 1].

    mean over q of rel_q(1); the same number as Recall@1.
    """
    return recall_at_k(ranking, k=1)


def recall_at_k(ranking: Ranking, *, k: int) -> float:
    """Return the share of queries with a relevant item among the first k, in [0, 1].

    mean over q of [0 < f_q <= k]
    """
    first = ranking.first_hit_rank
    return mean_over_queries(ranking, (first > 0) & (first <= k))


def mean_reciprocal_rank(ranking: Ranking) -> float:
    """Return the mean reciprocal rank of the first relevant item, in [0, 1].

    mean over q of 1 / f_q; the rank is exact however deep it lies.
    """
    return mean_over_queries(ranking, 1 / ranking.first_hit_rank.double())
