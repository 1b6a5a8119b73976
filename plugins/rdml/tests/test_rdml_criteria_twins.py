"""Criteria against classes of pytorch-metric-learning, under the settings that make them equal."""

import math
from collections.abc import Callable

import pytest
import torch
from harness_rdml.criterion_cards import CRITERIA
from pytorch_metric_learning import distances, losses, miners, reducers, regularizers
from torch import Tensor
from torch.nn import functional

from harness.api import Batch, BuildContext, LossParts, Pairs, Progress, Triplets

CLASSES, DIM = 5, 6
RAW = {"normalize_embeddings": False}
NORM = {"embedding_regularizer": regularizers.LpRegularizer(p=2, power=1)}
LABELS = torch.tensor([0, 0, 1, 1, 2, 2, 2, 4, 4, 4])


def build(name: str, *, dim: int = DIM, classes: int = CLASSES, **params) -> LossParts:
    card = next(card for card in CRITERIA if card.name == f"rdml_{name}")
    context = BuildContext(classes, dim, generator=torch.Generator().manual_seed(1))
    parts = card.build(card.params(**params), context)
    parts.objective.double()
    return parts


def batch(seed: int, *, unit: bool = False, tuples=None) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(len(LABELS), DIM, generator=generator).double() * 0.7
    points = functional.normalize(points) if unit else points
    return Batch.of(points.requires_grad_(), LABELS, tuples=tuples)


def loss_of(parts: LossParts, data: Batch) -> Tensor:
    found = parts.objective(data, Progress())
    return found["loss"] if isinstance(found, dict) else found


# Every row is an anchor once, where SNR's penalty is over the batch in both.
TRIPLETS = Triplets(
    torch.arange(10),
    torch.tensor([1, 0, 3, 2, 5, 6, 4, 8, 9, 7]),
    torch.tensor([2, 9, 0, 7, 8, 1, 3, 4, 0, 5]),
)
# One partner each, and every other class as negatives: 8 or 7 of them, a ragged set.
PAIRS = Pairs(
    TRIPLETS.anchor, TRIPLETS.positive, *(LABELS[:, None] != LABELS).nonzero(as_tuple=True)
)


def npair(data: Batch) -> Tensor:
    dot = distances.DotProductSimilarity(**RAW)
    loss = losses.NTXentLoss(temperature=1, distance=dot, embedding_reg_weight=0.005, **NORM)
    return loss(data.embeddings, data.labels, tuple(PAIRS))


def angular(data: Batch) -> Tensor:
    unit = functional.normalize(data.embeddings)
    return 2 * losses.AngularLoss(alpha=40)(unit, data.labels, tuple(PAIRS)) + npair(data)


def multi_similarity(data: Batch) -> Tensor:
    dot = distances.DotProductSimilarity(**RAW)
    mined = miners.MultiSimilarityMiner(epsilon=0.1, distance=dot)(data.embeddings, data.labels)
    loss = losses.MultiSimilarityLoss(
        alpha=2, beta=40, base=0.5, distance=dot, reducer=reducers.AvgNonZeroReducer()
    )
    return loss(data.embeddings, data.labels, mined)


def on_triplets(loss: Callable) -> Callable[[Batch], Tensor]:
    return lambda data: loss(data.embeddings, data.labels, tuple(TRIPLETS))


EUCLIDEAN = distances.LpDistance(**RAW)
TWINS = {
    "triplet": (
        on_triplets(
            losses.TripletMarginLoss(
                margin=0.2,
                distance=distances.LpDistance(power=2, **RAW),
                reducer=reducers.MeanReducer(),
            )
        ),
        {},
        1e-12,
    ),
    "contrastive": (
        on_triplets(losses.ContrastiveLoss(distance=EUCLIDEAN, reducer=reducers.MeanReducer())),
        {},
        2e-6,
    ),
    "margin": (
        on_triplets(
            losses.MarginLoss(
                margin=0.2,
                beta=1.1,
                nu=0,
                distance=EUCLIDEAN,
                reducer=reducers.AvgNonZeroReducer(),
            )
        ),
        {"beta": 1.1, "learn_beta": False},
        1e-7,
    ),
    "snr": (
        on_triplets(
            losses.TripletMarginLoss(
                margin=0.2,
                distance=distances.SNRDistance(**RAW),
                embedding_regularizer=regularizers.ZeroMeanRegularizer(),
                embedding_reg_weight=0.005,
            )
        ),
        {},
        1e-12,
    ),
    "multisimilarity": (multi_similarity, {}, 1e-12),
    "lifted": (
        lambda data: losses.GeneralizedLiftedStructureLoss(
            neg_margin=1, pos_margin=0, distance=EUCLIDEAN, embedding_reg_weight=0.005, **NORM
        )(data.embeddings, data.labels),
        {},
        2e-6,
    ),
    "npair": (npair, {}, 1e-12),
    "angular": (angular, {"alpha": 40, "variant": "intended"}, 1e-12),
}
TAKES = {"npair": PAIRS, "angular": PAIRS, "lifted": None}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", TWINS)
def test_a_criterion_equals_its_class_in_pytorch_metric_learning(name: str, seed: int):
    theirs, params, tolerance = TWINS[name]
    data = batch(seed, tuples=TAKES.get(name, TRIPLETS))

    ours = loss_of(build(name, **params), data)

    expected = theirs(data)
    torch.testing.assert_close(ours, expected, rtol=0, atol=tolerance)
    grads = [torch.autograd.grad(value, data.embeddings)[0] for value in (ours, expected)]
    torch.testing.assert_close(*grads, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("nbins", "tolerance"), [(65, 1e-12), (11, 1e-6)])
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_intended_histogram_is_that_of_pytorch_metric_learning(nbins: int, tolerance: float):
    data = batch(0)
    unit = Batch.of(functional.normalize(data.embeddings), LABELS)

    ours = loss_of(build("histogram", nbins=nbins, variant="intended"), unit)

    expected = losses.HistogramLoss(n_bins=nbins - 1)(data.embeddings, LABELS)
    torch.testing.assert_close(ours, expected, rtol=0, atol=tolerance)
    grads = [torch.autograd.grad(value, data.embeddings)[0] for value in (ours, expected)]
    torch.testing.assert_close(*grads, rtol=0, atol=30 * tolerance)


CLASS_TWINS = {
    "softmax": (
        lambda: losses.NormalizedSoftmaxLoss(
            CLASSES, DIM, temperature=0.05, distance=distances.DotProductSimilarity(**RAW)
        ),
        {},
        lambda weights: {"W": weights["class_map"].T},
    ),
    "arcface": (
        lambda: losses.ArcFaceLoss(CLASSES, DIM, margin=math.degrees(0.5), scale=16),
        {"variant": "intended"},
        lambda weights: {"W": weights["class_map"].T},
    ),
    "softtriplet": (
        lambda: losses.SoftTripleLoss(
            CLASSES, DIM, centers_per_class=3, la=8, gamma=0.1, margin=0.01
        ),
        {"variant": "intended", "n_centroids": 3, "reg_weight": 0},
        lambda weights: {"fc": weights["intra_class_centroids"]},
    ),
}


@pytest.mark.parametrize("name", CLASS_TWINS)
def test_a_criterion_with_weights_equals_its_class(name: str):
    make, params, state = CLASS_TWINS[name]
    parts, theirs, data = build(name, **params), make().double(), batch(2)
    theirs.load_state_dict(state(parts.objective.state_dict()))

    ours = loss_of(parts, data)

    expected = theirs(data.embeddings, data.labels)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
    grads = [torch.autograd.grad(value, data.embeddings)[0] for value in (ours, expected)]
    torch.testing.assert_close(*grads, rtol=0, atol=1e-6)
