"""How golden cases of the samplers are replayed: the authors' draws, and what their rules pick."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.kit.batches import rows_by_class
from harness.testing.golden import Case, Numbers, refuse_unknown, tensor
from harness_rdml import selection
from harness_rdml.samplers import class_random_batch, full_random_batch


def _rows(case: Case, name: str, dtype: torch.dtype) -> NDArray[Any]:
    return tensor(case.inputs[name], dtype).numpy()


def _labels(case: Case) -> tuple[NDArray[np.int64], list[list[int]], int]:
    """Return labels, the rows of each class, and how many batches an epoch has."""
    refuse_unknown(case.inputs, ("labels",))
    labels = tensor(case.inputs["labels"]).numpy()
    rows = [one.tolist() for one in rows_by_class(labels)]
    return labels, rows, len(labels) // case.params["batch_size"]


def class_random(case: Case, _: torch.dtype) -> Numbers:
    """Return the batches of Python's generator with the case's seed."""
    known = ("batch_size", "samples_per_class", "python_random_seed")
    refuse_unknown(case.params, known, what="params")
    rows, count = _labels(case)[1:]
    m = case.params["samples_per_class"]
    choose = random.Random(case.params["python_random_seed"]).choice  # noqa: S311
    num_classes = case.params["batch_size"] // m
    batches = [
        class_random_batch(rows, num_classes=num_classes, m=m, choose=choose) for _ in range(count)
    ]
    return {
        "n_batches": count,
        "batches": batches,
        "p_class": 1 / len(rows),
        "within_class": "uniform with replacement",
        "same_class_can_repeat": True,
    }


def full_random(case: Case, _: torch.dtype) -> Numbers:
    """Return the batches of Python's and NumPy's generators with the case's seeds."""
    known = ("batch_size", "python_random_seed", "numpy_seed")
    refuse_unknown(case.params, known, what="params")
    labels, rows, count = _labels(case)
    choose = random.Random(case.params["python_random_seed"]).choice  # noqa: S311
    below = np.random.RandomState(case.params["numpy_seed"]).randint
    index = np.unique(labels, return_inverse=True)[1]
    size = case.params["batch_size"]
    batches = [
        full_random_batch(rows, index, size=size, choose=choose, below=lambda n: int(below(n)))
        for _ in range(count)
    ]
    return {"n_batches": count, "batches": batches}


def greedy_coreset_selection(case: Case, dtype: torch.dtype) -> Numbers:
    """Return the picks."""
    refuse_unknown(case.inputs, ("embeddings",))
    refuse_unknown(case.params, ("n_select", "first_index"), what="params")
    rows = _rows(case, "embeddings", dtype)
    count, first = case.params["n_select"], case.params["first_index"]
    return {"selected": selection.greedy_coreset(rows, count=count, first=first)}


def d2_coreset_selection(case: Case, dtype: torch.dtype) -> Numbers:
    """Return the likeliest picks, and the probabilities of the rows that remain at each step."""
    refuse_unknown(case.inputs, ("embeddings", "start_anchor"))
    refuse_unknown(case.params, ("n_select", "lam"), what="params")
    rows = _rows(case, "embeddings", dtype)
    start = selection.nearest_to(_rows(case, "start_anchor", dtype), rows)
    exponent = float(case.params["lam"])
    picks = selection.d2_coreset(
        rows, count=case.params["n_select"], start=start, exponent=exponent, choose=np.argmax
    )
    steps = range(1, len(picks))
    return {
        "selected_with_argmax": picks,
        "step_probabilities_over_remaining": [
            np.delete(
                selection.d2_probability(rows, picks[:step], exponent=exponent), picks[:step]
            )
            for step in steps
        ],
    }


def disthist_cost(case: Case, dtype: torch.dtype) -> Numbers:
    """Return the cost of each candidate and the cheapest one."""
    refuse_unknown(case.params, ("histogram_bins", "weights"), what="params")
    bins = case.params["histogram_bins"]
    means, spreads, histograms = (float(weight) for weight in case.params["weights"])
    return _costs(
        case,
        dtype,
        lambda rows, subset: selection.distance_histogram_cost(
            rows, subset, bins=bins, weights=(means, spreads, histograms)
        ),
    )


def fid_cost(case: Case, dtype: torch.dtype) -> Numbers:
    """Return the cost of each candidate and the cheapest one."""
    refuse_unknown(case.params, (), what="params")
    return _costs(case, dtype, selection.frechet_cost)


def _costs(
    case: Case, dtype: torch.dtype, cost: Callable[[NDArray[Any], NDArray[np.int64]], float]
) -> Numbers:
    refuse_unknown(case.inputs, ("big_batch", "candidate_subsets"))
    rows = _rows(case, "big_batch", dtype)
    candidates = [np.asarray(subset) for subset in case.inputs["candidate_subsets"]]
    costs = [cost(rows, subset) for subset in candidates]
    return {"costs": costs, "chosen": candidates[int(np.argmin(costs))]}
