"""The one-call door: what comes in, what comes out, and what is refused."""

import numpy as np
import pytest
import torch

from harness.errors import HarnessError
from harness.evaluation import evaluate
from harness.registry import discover

CARDS = [entry.card for entry in discover().entries("metric")]
LINE = np.array([[0.0], [1.0], [2.6], [2.0], [4.5], [3.9]], dtype=np.float32)
CLASSES = np.array([0, 0, 0, 1, 1, 2])


def test_worked_example_in_one_call():
    scores = evaluate(LINE, CLASSES, distance="euclidean")

    assert list(scores) == ["map_at_r", "r_precision", "precision_at_1", "recall_at_10"]
    assert scores == pytest.approx(
        {"map_at_r": 0.2, "r_precision": 0.2, "precision_at_1": 0.4, "recall_at_10": 1.0}
    )
    assert scores.ranking.num_lone == 1


def test_worked_example_of_every_family():
    scores = evaluate(
        LINE,
        CLASSES,
        distance="euclidean",
        metrics=[
            "mean_average_precision",
            "mean_reciprocal_rank",
            "macro_precision_at_1",
            "macro_r_precision",
            "macro_map_at_r",
            "rdml_recall_at_1",
            "rdml_recall_at_2",
            "rdml_map_c",
        ],
    )

    assert scores == pytest.approx(
        {
            "mean_average_precision": 0.513333,
            "mean_reciprocal_rank": 0.573333,
            "macro_precision_at_1": 1 / 3,
            "macro_r_precision": 1 / 6,
            "macro_map_at_r": 1 / 6,
            "rdml_recall_at_1": 2 / 6,
            "rdml_recall_at_2": 2 / 6,
            "rdml_map_c": 0.203704,
        },
        abs=1e-6,
    )


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_every_metric_is_a_documented_function_inside_its_bounds(card):
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 5, 40)
    ranking = evaluate(draw.normal(size=(40, 6)), labels).ranking
    params = card.params(k=39) if "k" in card.params.model_fields else card.params()

    metric = card.build(params, None)

    assert card.bounds[0] <= metric(ranking) <= card.bounds[1]
    assert isinstance(metric(ranking), float)
    assert metric(ranking) == metric(ranking)
    assert len(metric.func.__doc__.split("\n\n")) > 1, "the formula is missing"


def test_layout_and_type_of_the_input_do_not_matter():
    draw = np.random.default_rng(1)
    values = draw.normal(size=(50, 8)).astype(np.float16)
    labels = draw.integers(0, 7, 50)
    expected = evaluate(values.astype(np.float32), labels)

    for given, classes in (
        (values, labels.astype(np.int16)),
        (np.asfortranarray(values), labels.tolist()),
        (values[::-1][::-1], labels.astype(np.uint8)),
        (torch.from_numpy(values).requires_grad_(), torch.from_numpy(labels).int()),
        (torch.from_numpy(values).T.contiguous().T, labels),
        (values.astype(np.float64), labels),
        (values.tolist(), labels),
        (values.astype(">f4"), labels.astype(">i8")),
        (values.astype(np.longdouble), labels),
        (np.broadcast_to(values, values.shape), np.broadcast_to(labels, labels.shape)),
    ):
        assert evaluate(given, classes) == expected


def test_a_gallery_apart_leaves_nothing_out():
    scores = evaluate(
        LINE, CLASSES, gallery=LINE, gallery_labels=CLASSES, metrics=["precision_at_1"]
    )

    assert scores.ranking.num_lone == 0
    assert scores.ranking.num_relevant.tolist() == [3, 3, 3, 2, 2, 1]


def test_queries_of_a_class_that_the_gallery_lacks_are_lone_and_counted():
    scores = evaluate(
        LINE, CLASSES, gallery=LINE[:3], gallery_labels=CLASSES[:3], metrics=["precision_at_1"]
    )

    assert scores == {"precision_at_1": 1.0}
    assert scores.ranking.num_lone == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"embeddings": LINE * np.nan}, "6 of 6 embeddings contain NaN", id="nan"),
        pytest.param(
            {"embeddings": LINE + np.inf}, "embeddings contain NaN or infinity", id="inf"
        ),
        pytest.param({"embeddings": LINE[:0], "labels": []}, "the set is empty", id="empty"),
        pytest.param({"embeddings": LINE[:, 0]}, r"must be \(N, D\)", id="vector"),
        pytest.param({"labels": CLASSES[:5]}, r"labels \(5\) do not fit", id="lengths"),
        pytest.param({"labels": CLASSES * 0.5}, "labels must be integers", id="float-labels"),
        pytest.param({"labels": list("abcdef")}, "labels must be numbers", id="text-labels"),
        pytest.param({"labels": range(6)}, "none of the 6 queries", id="all-lone"),
        pytest.param({"metrics": ["map_at_1"]}, "the 2 that a query has to find", id="k-below-r"),
        pytest.param({"metrics": ["map_at_rr"]}, "map_at_rr", id="unknown-metric"),
        pytest.param({"metrics": []}, "no metric", id="no-metric"),
        pytest.param({"metrics": "map_at_r"}, "sequence of names", id="text-metrics"),
        pytest.param(
            {"gallery": LINE[:0], "gallery_labels": []}, "the set is empty", id="empty-gallery"
        ),
        pytest.param({"gallery": LINE}, "given together", id="gallery-without-labels"),
        pytest.param({"distance": "dot"}, "unknown distance 'dot'", id="distance"),
    ],
)
def test_input_that_means_nothing_is_refused(change, message):
    given = {"embeddings": LINE, "labels": CLASSES} | change

    with pytest.raises(HarnessError, match=message):
        evaluate(**given)


def test_one_class_is_perfect_retrieval():
    scores = evaluate(LINE, np.zeros(6, int), metrics=["map_at_r", "precision_at_1", "nmi"])

    assert scores == {"map_at_r": 1.0, "precision_at_1": 1.0, "nmi": 1.0}


def test_labels_beyond_float32_and_int32_stay_apart():
    labels = np.array([2**24, 2**24, 2**24 + 1, 2**24 + 1, 2**40, 2**40])

    scores = evaluate(np.eye(3)[[0, 0, 1, 1, 2, 2]], labels)

    assert scores["map_at_r"] == 1.0
