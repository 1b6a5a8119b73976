"""Clustering metrics against slow twins and known cases."""

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from harness.evaluation import Embeddings, rank
from harness.evaluation.clustering import (
    adjusted_mutual_information,
    ami,
    contingency,
    nmi,
    normalized_mutual_information,
    pairwise_f1,
    pairwise_f1_of,
)
from harness.evaluation.kmeans import kmeans

partitions = st.integers(1, 40).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 5), min_size=n, max_size=n)] * 2)
)


def table_of(labels, clusters):
    return contingency(torch.tensor(labels), torch.tensor(clusters))


@given(partitions)
def test_pairwise_f1_counts_pairs(partition):
    labels, clusters = partition
    pairs = list(combinations(range(len(labels)), 2))
    same_class = {p for p in pairs if labels[p[0]] == labels[p[1]]}
    same_cluster = {p for p in pairs if clusters[p[0]] == clusters[p[1]]}
    total = len(same_class) + len(same_cluster)

    found = pairwise_f1_of(table_of(labels, clusters))

    assert found == pytest.approx(2 * len(same_class & same_cluster) / total if total else 1.0)


@given(partitions)
def test_nmi_equals_its_definition(partition):
    labels, clusters = partition
    n = len(labels)
    joint, a, b = Counter(zip(labels, clusters, strict=True)), Counter(labels), Counter(clusters)
    shared = sum(c / n * math.log(n * c / (a[i] * b[j])) for (i, j), c in joint.items())
    entropy = sum(-c / n * math.log(c / n) for side in (a, b) for c in side.values()) / 2

    found = normalized_mutual_information(table_of(labels, clusters))

    assert found == pytest.approx(shared / entropy if entropy else 1.0, abs=1e-12)


@settings(max_examples=60)
@given(partitions)
def test_nmi_and_ami_equal_scikit_learn(partition):
    labels, clusters = partition
    table = table_of(labels, clusters)

    assert normalized_mutual_information(table) == pytest.approx(
        metrics.normalized_mutual_info_score(labels, clusters), abs=1e-10
    )
    assert adjusted_mutual_information(table) == pytest.approx(
        metrics.adjusted_mutual_info_score(labels, clusters), abs=1e-7
    )


@given(partitions, st.permutations(range(6)))
def test_renaming_clusters_changes_nothing(partition, names):
    labels, clusters = partition
    renamed = [names[c] for c in clusters]

    for score in (normalized_mutual_information, pairwise_f1_of):
        before = score(table_of(labels, clusters))
        assert score(table_of(labels, renamed)) == pytest.approx(before, abs=1e-12)


def blobs(spread, seed=0):
    draw = np.random.default_rng(seed)
    centres = np.eye(4) * 10
    labels = np.repeat(np.arange(4), 12)
    values = centres[labels] + draw.normal(size=(48, 4)) * spread
    return Embeddings(torch.from_numpy(values).float(), torch.from_numpy(labels), torch.arange(48))


def test_kmeans_leaves_no_cluster_empty_and_is_repeatable():
    values = torch.cat([torch.zeros(30, 3), torch.randn(10, 3, generator=torch.manual_seed(0))])

    first, second = kmeans(values, 8), kmeans(values, 8)

    assert torch.equal(first, second)
    assert first.min() >= 0
    assert first.max() < 8


def test_kmeans_ends_where_every_row_is_with_its_nearest_mean():
    values = blobs(3.0).values

    cluster = kmeans(values, 4, iterations=100)

    means = torch.stack([values[cluster == c].mean(0) for c in range(4)])
    assert torch.equal(torch.cdist(values, means).argmin(1), cluster)


def test_metrics_of_a_ranking_use_one_clustering():
    ranking = rank(blobs(3.0), distance="euclidean")

    values = [nmi(ranking), ami(ranking), pairwise_f1(ranking)]

    assert ranking.clusters is ranking.clusters
    assert all(0 < value <= 1 for value in values)
    assert values[1] < values[0] or values[0] == 1


def test_classes_found_exactly_score_one():
    labels = [0, 0, 5, 5, 5, -3]
    table = table_of(labels, [9, 9, 1, 1, 1, 4])

    assert normalized_mutual_information(table) == 1.0
    assert adjusted_mutual_information(table) == pytest.approx(1.0)
    assert pairwise_f1_of(table) == 1.0
