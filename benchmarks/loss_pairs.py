"""Which loss of ours equals which class of pytorch-metric-learning, for `losses.py`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytorch_metric_learning import distances, reducers
from torch import nn

FEW = 100  # classes of the smaller problem


@dataclass(frozen=True)
class Pair:
    """A loss of ours and the class that computes the same, or does the same work.

    Attributes:
        ours: Name of the component.
        theirs: Name of the class.
        arguments: Of the class; `num_classes` and `embedding_size` are added where it has weights.
        params: Of the component.
        tuples: What a miner would give both of them.
        weights: Whether the class has weights, so that the number of classes matters.
        also: A second class and its arguments, where ours computes the sum of two.
    """

    ours: str
    theirs: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    tuples: str = "none"
    weights: bool = False
    also: tuple[str, Mapping[str, Any]] | None = None


def euclidean(power: int = 1) -> nn.Module:
    """Return the distance between embeddings as they are."""
    return distances.LpDistance(normalize_embeddings=False, power=power)


DOT = distances.DotProductSimilarity(normalize_embeddings=False)
MEAN, NON_ZERO = reducers.MeanReducer(), reducers.AvgNonZeroReducer()

PAIRS = (
    Pair(
        "harness-pml:proxy_anchor", "ProxyAnchorLoss", {"margin": 0.1, "alpha": 32}, weights=True
    ),
    Pair("hier_pa", "ProxyAnchorLoss", {"margin": 0.1, "alpha": 32}, weights=True),
    Pair("proxy_isa", "ProxyAnchorLoss", {"margin": 0.1, "alpha": 32}, weights=True),
    Pair("dr_proxy_nca", "ProxyNCALoss", params={"gamma": 0}, weights=True),
    Pair("rdml_proxynca", "ProxyNCALoss", {"softmax_scale": 9}, weights=True),
    Pair(
        "rdml_softmax",
        "NormalizedSoftmaxLoss",
        {"temperature": 0.05, "distance": DOT},
        weights=True,
    ),
    Pair("rdml_arcface", "ArcFaceLoss", {"margin": math.degrees(0.5), "scale": 16}, weights=True),
    Pair("rdml_softtriplet", "SoftTripleLoss", {"centers_per_class": 2, "la": 8}, weights=True),
    Pair("hier_softtriple", "SoftTripleLoss", {"centers_per_class": 10, "la": 20}, weights=True),
    Pair(
        "dr_triplet",
        "TripletMarginLoss",
        {"margin": 0.28, "distance": distances.LpDistance(), "reducer": MEAN},
        {"gamma": 0},
    ),
    Pair("dr_ms", "MultiSimilarityLoss", {"alpha": 2, "beta": 50, "base": 0.7}, {"gamma": 0}),
    Pair("hier_ms", "MultiSimilarityLoss", {"alpha": 2, "beta": 50, "base": 0.5}),
    Pair("rdml_multisimilarity", "MultiSimilarityLoss", {"alpha": 2, "beta": 40, "base": 0.5}),
    Pair("hier_supcon", "SupConLoss", {"temperature": 0.2}),
    Pair("hyp", "NTXentLoss", {"temperature": 0.2}),
    Pair("rdml_histogram", "HistogramLoss", {"n_bins": 64}),
    Pair(
        "rdml_triplet",
        "TripletMarginLoss",
        {"margin": 0.2, "distance": euclidean(2), "reducer": MEAN},
        tuples="triplets",
    ),
    Pair(
        "rdml_contrastive",
        "ContrastiveLoss",
        {"distance": euclidean(), "reducer": MEAN},
        tuples="triplets",
    ),
    Pair(
        "rdml_margin",
        "MarginLoss",
        {"learn_beta": True, "num_classes": FEW, "distance": euclidean(), "reducer": NON_ZERO},
        tuples="triplets",
    ),
    Pair(
        "rdml_snr",
        "TripletMarginLoss",
        {"margin": 0.2, "distance": distances.SNRDistance(normalize_embeddings=False)},
        tuples="triplets",
    ),
    Pair(
        "rdml_lifted",
        "GeneralizedLiftedStructureLoss",
        {"neg_margin": 1, "pos_margin": 0, "distance": euclidean()},
        tuples="pairs",
    ),
    Pair("rdml_npair", "NTXentLoss", {"temperature": 1, "distance": DOT}, tuples="pairs"),
    Pair(
        "rdml_angular",
        "AngularLoss",
        {"alpha": 45},
        tuples="pairs",
        also=("NTXentLoss", {"temperature": 1, "distance": DOT}),
    ),
)
"""Losses without an equivalent class (hist, hier, rdml_quadruplet, …) have no row."""
