"""How golden cases of Hyp, and of the ball it computes in, are replayed.

Shapes: n classes, m images of each class, B = n m, D embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

import harness
from harness.api import Batch, HarnessError, LossParts, Progress, SamplerContext
from harness.kit.hyperbolic import PoincareBall, ToBall
from harness.kit.partners import partner_entropies, places
from harness.testing.golden import (
    Adapter,
    Case,
    Numbers,
    ReplayError,
    gradients,
    leaf,
    load_state,
    refuse_unknown,
    tensor,
)
from harness.testing.golden.rankings import ranking_of
from harness_hyp.hyperbolicity import hyperbolicity
from harness_hyp.objective import HypObjective
from harness_hyp.sampler import ClassPasses

# --- the ball -----------------------------------------------------------------------------------


def maps(case: Case, dtype: torch.dtype) -> Numbers:
    """Every map of the ball; row 0 of `u` is the origin, where two of them are not defined."""
    refuse_unknown(case.params, ("c",), what="params")
    ball = PoincareBall(float(case.params["c"]))
    u, v, matrix = (tensor(case.inputs[name], dtype) for name in ("u", "v", "M"))
    x, y = ball.project(ball.exp0(u)), ball.project(ball.exp0(v))
    klein = ball.to_klein(x)
    return {
        "expmap0_u": ball.exp0(u),
        "x": x,
        "y": y,
        "logmap0_x": ball.log0(x),
        "mobius_add_xy": ball.add(x, y),
        "dist_xy": ball.distance(x, y),
        "dist0_x": ball.distance_to_origin(x),
        "lambda_x": ball.conformal(x).squeeze(-1),
        "p2k_x": klein,
        "k2p_p2k_x": ball.from_klein(klein),
        "lorentz_factor_klein_x": ball.lorentz_factor(klein).squeeze(-1),
        "poincare_mean": ball.mean(x),
        "expmap_x_v": ball.exp(x, v),
        "logmap_x_y": ball.log(x[1:], y[1:]),
        "dist_matrix_xy": ball.distances(x, y),
        "mobius_matvec": ball.multiply(matrix, x[1:]),
        "project_10x": ball.project(10 * x),
    }


def to_poincare(case: Case, dtype: torch.dtype) -> Numbers:
    """Features into the ball, and the gradient of a weighted sum on its way back."""
    refuse_unknown(case.params, ("c", "clip_r", "riemannian"), what="params")
    x = leaf(case.inputs["x"], dtype)
    into = ToBall(
        float(case.params["c"]),
        clip_radius=_radius(case),
        riemannian=case.params["riemannian"],
    )
    z = into(x)
    return {"z": z, **_probe(z, case, dtype, {"grad_x": x})}


def dist_matrix(case: Case, dtype: torch.dtype) -> Numbers:
    """All distances, and the gradient of a weighted sum of them."""
    refuse_unknown(case.params, ("c",), what="params")
    x, y = leaf(case.inputs["x"], dtype), leaf(case.inputs["y"], dtype)
    distances = PoincareBall(float(case.params["c"])).distances(x, y)
    return {"D": distances, **_probe(distances, case, dtype, {"grad_x": x, "grad_y": y})}


def _probe(values: Tensor, case: Case, dtype: torch.dtype, leaves: dict[str, Tensor]) -> Numbers:
    loss = (values * tensor(case.inputs["w"], dtype)).sum()
    found = gradients(loss, list(leaves.values()))
    return {"probe_loss": loss, **dict(zip(leaves, found, strict=True))}


def _radius(case: Case) -> float | None:
    radius = case.params["clip_r"]
    return None if radius is None else float(radius)


# --- the loss -----------------------------------------------------------------------------------


def pairwise_ce(case: Case, dtype: torch.dtype) -> Numbers:
    """The term of one ordered pair of places: image i of `x0` looks for image i of `x1`."""
    refuse_unknown(case.params, ("tau", "hyp_c"), what="params")
    x0, x1 = leaf(case.inputs["x0"], dtype), leaf(case.inputs["x1"], dtype)
    num_classes = len(x0)
    labels = torch.arange(num_classes).repeat(2)
    objective = _parts(case).objective
    assert isinstance(objective, HypObjective)
    similarities = objective.similarities(torch.cat([x0, x1]))
    loss = partner_entropies(similarities, labels)[:num_classes].sum() / num_classes
    grad_x0, grad_x1 = gradients(loss, [x0, x1])
    across = similarities[:num_classes, num_classes:]
    right = across.argmax(1) == labels[:num_classes]
    return {
        "loss": loss,
        "grad_x0": grad_x0,
        "grad_x1": grad_x1,
        "stats": {
            "logits/min": across.min(),
            "logits/mean": across.mean(),
            "logits/max": across.max(),
            "logits/acc": right.float().mean(),  # in float32 there, too
        },
    }


def total_step(case: Case, dtype: torch.dtype) -> Numbers:
    """Features through the head and the loss, with the term of every ordered pair of places."""
    known = ("tau", "hyp_c", "clip_r", "num_samples", "riemannian")
    refuse_unknown(case.params, known, what="params")
    if case.params["riemannian"]:
        raise ReplayError("Hyp scales no gradients: riemannian must be false")
    features = leaf(case.inputs["backbone_features"], dtype)
    labels = tensor(case.inputs["labels"])
    weights = case.inputs["learnables"]
    dim, num_features = tensor(weights["head_weight"]).shape
    parts = _parts(case, feature_dim=num_features, embedding_dim=dim)
    head = parts.head
    assert head is not None
    load_state(head.to(dtype), _head_state(weights), dtype)
    z = head(features)
    loss = parts.objective(Batch.of(z, labels), Progress())["loss"]
    grad, grad_weight, grad_bias = gradients(loss, [features, *head.parameters()])
    return {
        "loss": loss,
        "ordered_pair_terms": _ordered_pair_terms(parts.objective, z, labels),
        "z": z,
        "grad_backbone_features": grad,
        "grad_learnables": {"head_weight": grad_weight, "head_bias": grad_bias},
    }


def _ordered_pair_terms(objective: torch.nn.Module, z: Tensor, labels: Tensor) -> list[list[Any]]:
    """Return [a, b, term] for every ordered pair of places."""
    assert isinstance(objective, HypObjective)
    entropies, place = partner_entropies(objective.similarities(z), labels), places(labels)
    num_places = int(place.max()) + 1
    terms: list[list[Any]] = []
    for a in range(num_places):
        for b in (b for b in range(num_places) if b != a):
            chosen = entropies[place == a][:, place == b]
            num_classes = int((place == max(a, b)).sum())
            terms.append([a, b, chosen.sum().item() / num_classes])
    return terms


def _head_state(weights: Mapping[str, Any]) -> dict[str, Any]:
    return {"linear.weight": weights["head_weight"], "linear.bias": weights["head_bias"]}


def _parts(case: Case, **context: object) -> LossParts:
    params = {"tau": case.params["tau"], "c": case.params["hyp_c"]}
    if "clip_r" in case.params:
        params["clip_radius"] = case.params["clip_r"]
    return harness.build("loss", "hyp", params, **context)


# --- samplers and metrics -----------------------------------------------------------------------


def class_sampler(case: Case, dtype: torch.dtype) -> Numbers:  # noqa: ARG001 - integers
    """The classes of an epoch; each of several processes takes a run of them."""
    known = ("m_per_class", "world_size", "epoch", "seed")
    refuse_unknown(case.params, known, what="params")
    labels = np.asarray(case.inputs["labels"], dtype=np.int64)
    ranks, m = case.params["world_size"], case.params["m_per_class"]
    sampler = ClassPasses(
        SamplerContext(labels=labels, batch_size=m), m=m, class_seed=case.params["seed"]
    )
    order = sampler.class_order(case.params["epoch"])
    share = len(order) // ranks
    drawn = [labels[rows[0]] for rows in sampler.batches(case.params["epoch"])]
    if [int(np.searchsorted(np.unique(labels), one)) for one in drawn] != order:
        raise HarnessError("the batches do not follow the order of the classes")
    return {
        "class_order_per_rank": [
            order[rank * share : (rank + 1) * share] for rank in range(ranks)
        ],
        "len": share * m,
    }


def recall(case: Case, dtype: torch.dtype) -> Numbers:  # noqa: ARG001 - ranks follow float32
    """Recall at each k; queries alone in their class count as misses, as in the authors' code."""
    refuse_unknown(case.params, ("hyp_c", "k"), what="params")
    inputs = case.inputs
    ranking = ranking_of((inputs["embeddings"], inputs["labels"]), distance=_distance(case))
    return {"recall": recalls(ranking, "rdml_recall_at_k", case)}


def recall_inshop(case: Case, dtype: torch.dtype) -> Numbers:  # noqa: ARG001
    """Recall at each k with a gallery apart."""
    refuse_unknown(case.params, ("hyp_c", "k"), what="params")
    inputs = case.inputs
    ranking = ranking_of(
        (inputs["query"], inputs["query_labels"]),
        (inputs["gallery"], inputs["gallery_labels"]),
        distance=_distance(case),
    )
    return {"recall": recalls(ranking, "rdml_recall_at_k", case)}


def recalls(ranking: Any, metric: str, case: Case) -> list[float]:  # noqa: ANN401 - opaque here
    """Return a recall metric at each k of a case."""
    return [harness.build("metric", metric, {"k": k})(ranking) for k in case.params["k"]]


def _distance(case: Case) -> Any:  # noqa: ANN401 - a name or a function
    parts = harness.build("loss", "hyp", {"c": case.params["hyp_c"]})
    return parts.distance or "cosine"


def delta(case: Case, dtype: torch.dtype) -> Numbers:
    """Hyperbolicity of all points of a case."""
    refuse_unknown(case.params, ("base_point",), what="params")
    points = tensor(case.inputs["embeddings"], dtype)
    base = case.params["base_point"]
    found = hyperbolicity(torch.cat([points[base : base + 1], points[:base], points[base + 1 :]]))
    return {
        "delta": found.delta,
        "diameter": found.diameter,
        "relative_delta": found.relative_delta,
        "c_estimate": found.curvature,
    }


ADAPTERS: Mapping[str, Adapter] = {
    "hyperbolic.maps": maps,
    "hyperbolic.to_poincare": to_poincare,
    "hyperbolic.dist_matrix": dist_matrix,
    "hyp.pairwise_ce": pairwise_ce,
    "hyp.total_step": total_step,
    "hyp.class_sampler": class_sampler,
    "hyp.recall": recall,
    "hyp.recall_inshop": recall_inshop,
    "hyp.delta_hyperbolicity": delta,
}
