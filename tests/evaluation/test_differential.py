"""200 random problems against pytorch-metric-learning's calculator.

Its neighbours come from its own search without faiss; where definitions differ on purpose (see
`docs/metrics.md`) our value is converted before it is compared.
"""

import numpy as np
import pytest
import torch
from pytorch_metric_learning import distances
from pytorch_metric_learning.utils import accuracy_calculator as accuracy
from pytorch_metric_learning.utils import inference

from harness.evaluation import evaluate

NAMES = {
    "precision_at_1": "precision_at_1",
    "r_precision": "r_precision",
    "mean_average_precision_at_r": "map_at_r",
    "mean_average_precision": "mean_average_precision",
    "mean_reciprocal_rank": "mean_reciprocal_rank",
}


def calculator(*, by_class):
    search = inference.CustomKNN(distances.LpDistance(normalize_embeddings=False))
    return accuracy.AccuracyCalculator(
        include=tuple(NAMES),
        avg_of_avgs=by_class,
        k=None,
        knn_func=search,
        device=torch.device("cpu"),
    )


def problem(seed):
    """Rows in general position, some of them lone; every third problem has a gallery apart."""
    draw = np.random.default_rng(seed)
    classes = int(draw.integers(2, 12))
    sides = []
    for _ in range(2):
        rows = int(draw.integers(12, 60))
        labels = draw.integers(0, classes, rows)
        labels[:2] = labels[0]  # one pair at least
        sides.append((draw.normal(size=(rows, 5)).astype(np.float32), labels))
    query, gallery = sides
    gallery[1][0] = query[1][0]
    return query, (gallery if seed % 3 == 0 else None)


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_retrieval_equals_pytorch_metric_learning(start):
    for seed in range(start, start + 50):
        (values, labels), gallery = problem(seed)
        apart = {} if gallery is None else {"gallery": gallery[0], "gallery_labels": gallery[1]}
        other = [] if gallery is None else [torch.from_numpy(side) for side in gallery]

        ours = evaluate(
            values, labels, distance="euclidean", metrics=list(NAMES.values()), **apart
        )
        theirs = calculator(by_class=False).get_accuracy(
            torch.from_numpy(values), torch.from_numpy(labels), *other
        )

        for name, mine in NAMES.items():
            assert ours[mine] == pytest.approx(theirs[name], abs=1e-6), (seed, mine)


def test_macro_averages_equal_pytorch_metric_learning():
    macro = {"precision_at_1": "macro_precision_at_1", "r_precision": "macro_r_precision"}
    macro["mean_average_precision_at_r"] = "macro_map_at_r"
    for seed in range(1, 60, 3):
        (values, labels), _ = problem(seed)

        ours = evaluate(values, labels, distance="euclidean", metrics=list(macro.values()))
        theirs = calculator(by_class=True).get_accuracy(
            torch.from_numpy(values), torch.from_numpy(labels)
        )

        for name, mine in macro.items():
            assert ours[mine] == pytest.approx(theirs[name], abs=1e-6), (seed, mine)
