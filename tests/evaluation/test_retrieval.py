"""Retrieval metrics on cases that fit in the head, and on their limits."""

import numpy as np
import pytest
import torch

from harness.errors import HarnessError
from harness.evaluation import Embeddings, query_rows, rank
from harness.evaluation.retrieval import (
    map_at_r,
    mean_reciprocal_rank,
    precision_at_1,
    r_precision,
    recall_at_k,
)


def on_line(values, labels):
    values = torch.tensor(values).unsqueeze(1)
    return Embeddings(values, torch.tensor(labels), torch.arange(len(labels)))


def worked_example():
    return rank(on_line([0.0, 1.0, 2.6, 2.0, 4.5, 3.9], [0, 0, 0, 1, 1, 2]), distance="euclidean")


def test_worked_example_has_the_known_values():
    ranking = worked_example()

    assert precision_at_1(ranking) == 2 / 5
    assert r_precision(ranking) == pytest.approx(1 / 5, abs=1e-15)
    assert map_at_r(ranking) == pytest.approx(1 / 5, abs=1e-15)
    assert mean_reciprocal_rank(ranking) == pytest.approx(0.573333, abs=1e-6)
    assert [recall_at_k(ranking, k=k) for k in (1, 2, 3, 4, 5)] == [0.4, 0.4, 0.8, 0.8, 1.0]


def test_perfect_retrieval_scores_one():
    ranking = rank(on_line([0.0, 0.1, 10.0, 10.1, 10.2], [0, 0, 1, 1, 1]), distance="euclidean")

    for metric in (map_at_r, r_precision, precision_at_1, mean_reciprocal_rank):
        assert metric(ranking) == 1.0


def test_worst_retrieval_scores_zero_where_r_bounds_the_depth():
    ranking = rank(on_line([0.0, 10.0, 0.1, 10.1], [0, 0, 1, 1]), distance="euclidean")

    for metric in (map_at_r, r_precision, precision_at_1):
        assert metric(ranking) == 0.0


def test_all_lone_is_an_error_and_not_a_score():
    ranking = rank(on_line([0.0, 1.0, 2.0], [0, 1, 2]), distance="euclidean")

    with pytest.raises(HarnessError, match="none of the 3 queries has a relevant item") as caught:
        map_at_r(ranking)

    assert "at least 2 images" in caught.value.hint


def test_a_class_that_the_gallery_lacks_is_lone():
    query = on_line([0.0, 1.0], [0, 9])
    gallery = Embeddings(torch.tensor([[0.2], [3.0]]), torch.tensor([0, 1]), torch.tensor([7, 8]))

    ranking = rank(query, gallery, distance="euclidean")

    assert ranking.num_lone == 1
    assert precision_at_1(ranking) == 1.0


def test_metrics_recomputed_from_query_rows_are_equal():
    draw = np.random.default_rng(0)
    items = Embeddings(
        torch.from_numpy(draw.normal(size=(300, 4))).float(),
        torch.from_numpy(draw.integers(0, 90, 300)),
        torch.arange(300),
    )
    ranking = rank(items)
    rows = query_rows(ranking)

    counted = rows["num_relevant"] > 0
    first = rows["first_hit_rank"][counted]

    assert (~counted).sum() == ranking.num_lone > 0
    assert abs(rows["ap_at_r"][counted].mean() - map_at_r(ranking)) < 1e-12
    assert abs(rows["r_precision"][counted].mean() - r_precision(ranking)) < 1e-12
    assert abs(rows["hit_at_1"][counted].mean() - precision_at_1(ranking)) < 1e-12
    assert abs((first <= 10).mean() - recall_at_k(ranking, k=10)) < 1e-12
    assert abs((1 / first).mean() - mean_reciprocal_rank(ranking)) < 1e-12
