"""How golden cases of HIER are replayed.

Shapes: B batch, N points, P hierarchical proxies, T triplets, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import harness
from harness.api import Batch, LossParts, Progress, SamplerContext
from harness.kit.hyperbolic import PoincareBall, ToBall
from harness.kit.partners import partner_entropies, places
from harness.testing.golden import (
    Adapter,
    Case,
    LossAdapter,
    Numbers,
    ReplayError,
    gradients,
    leaf,
    load_state,
    refuse_unknown,
    tensor,
)
from harness.testing.golden.rankings import ranking_of
from harness_hier.metric_losses import ball_similarities
from harness_hier.objective import HierDraws, HierObjective
from harness_hier.regulariser import (
    Draws,
    Noise,
    Triplet,
    ancestor_logits,
    ancestor_term,
    anchors,
    related_points,
    similarity,
)
from harness_hier.sampler import ImagesPerClass
from harness_hier.schedule import cosine_factors, learning_rates, step_factors

# --- draws --------------------------------------------------------------------------------------


def _triplets(case: Case, name: str) -> Triplet:
    first, second, third = tensor(case.inputs[name]).reshape(-1, 3).long().T
    return Triplet(first, second, third, torch.ones_like(first, dtype=torch.bool))


def _draws(case: Case, dtype: torch.dtype, term: str) -> Draws:
    """Return the triplets of a term with their noise, all of it given."""
    noise = Noise(
        tensor(case.inputs[f"noise_{term}_ij"], dtype),
        tensor(case.inputs[f"noise_{term}_ijk"], dtype),
    )
    name = {"data": "triplets_data", "proxy": "triplets_proxies"}[term]
    return Draws(_triplets(case, name), lambda part: Noise(noise.pair[part], noise.triple[part]))


def _hier_draws(case: Case, dtype: torch.dtype) -> HierDraws:
    return HierDraws(_draws(case, dtype, "data"), _draws(case, dtype, "proxy"))


# --- terms --------------------------------------------------------------------------------------


def reciprocal_candidates(case: Case, dtype: torch.dtype) -> Numbers:
    """Anchors with their related and other points, with labels and without."""
    refuse_unknown(case.params, ("c", "clip_r", "topk"), what="params")
    topk = case.params["topk"]
    if "similarity" in case.inputs:
        return {"with_labels": _pools(tensor(case.inputs["similarity"], dtype), topk)}
    ball = PoincareBall(float(case.params["c"]))
    z = ToBall(ball.c, clip_radius=_radius(case))(tensor(case.inputs["features"], dtype))
    distances = ball.distances(z, z)
    with_labels = similarity(distances, tensor(case.inputs["labels"]))
    without = similarity(distances)
    return {
        "similarity": with_labels,
        "similarity_no_labels": without,
        "with_labels": _pools(with_labels, topk),
        "without_labels": _pools(without, topk),
    }


def _pools(similarities: Tensor, topk: int) -> Numbers:
    related = related_points(similarities, topk=topk)
    kept = anchors(related).nonzero().flatten().tolist()
    if not kept:
        # theirs has nothing to join here, ours a term of 0
        return {"error": "ValueError: need at least one array to concatenate"}
    return {
        "anchors": kept,
        "related": [related[i].nonzero().flatten().tolist() for i in kept],
        "unrelated": [(~related[i]).nonzero().flatten().tolist() for i in kept],
    }


def lca_loss(case: Case, dtype: torch.dtype) -> Numbers:
    """One term: features and proxies into the ball, ancestors, cost, gradients."""
    known = ("c", "clip_r", "margin", "tau", "riemannian")
    refuse_unknown(case.params, known, what="params")
    params = case.params
    features, proxies = leaf(case.inputs["features"], dtype), leaf(case.inputs["proxies"], dtype)
    into = ToBall(float(params["c"]), clip_radius=_radius(case), riemannian=params["riemannian"])
    distances = into.ball.distances(into(features), into(proxies))
    triplets = _triplets(case, "triplets")
    noise = _given_noise(case, dtype, (len(triplets.first), len(proxies)))
    draws = Draws(triplets, lambda part: Noise(noise.pair[part], noise.triple[part]))
    tau, margin = float(params["tau"]), float(params["margin"])
    loss = ancestor_term(distances, draws, tau=tau, margin=margin)
    logits = ancestor_logits(distances, triplets, noise, tau=tau)
    pair, triple = logits.pair.argmax(1), logits.triple.argmax(1)
    grad_features, grad_proxies = gradients(loss, [features, proxies])
    return {
        "loss": loss,
        "lca_ij": pair,
        "lca_ijk": triple,
        "n_active": int((pair != triple).sum()),
        "dist": distances,
        "grad_features": grad_features,
        "grad_proxies": grad_proxies,
    }


def _given_noise(case: Case, dtype: torch.dtype, shape: tuple[int, int]) -> Noise:
    names = "gumbel_noise_ij", "gumbel_noise_ijk"
    if names[0] not in case.inputs:
        return Noise(torch.zeros(shape, dtype=dtype), torch.zeros(shape, dtype=dtype))
    return Noise(*(tensor(case.inputs[name], dtype) for name in names))


def _radius(case: Case) -> float | None:
    radius = case.params["clip_r"]
    return None if radius is None else float(radius)


# --- the whole loss -----------------------------------------------------------------------------


def full_loss(case: Case, dtype: torch.dtype) -> Numbers:
    """Both terms of the regulariser; features go straight into the ball."""
    known = ("c", "clip_r", "margin", "tau", "topk", "t_per_anchor", "noise")
    refuse_unknown(case.params, known, what="params")
    features = leaf(case.inputs["features"], dtype)
    labels = tensor(case.inputs["labels"])
    objective, _ = _hier(case, "hier_ms", dim=features.shape[1], labels=labels)
    load_state(objective.to(dtype), {"hier_proxies": case.inputs["proxies"]}, dtype)
    z = objective.into_ball(features)
    data, proxies = objective.regulariser(z, labels, _hier_draws(case, dtype))
    loss = data + proxies
    grad_features, grad_proxies = gradients(loss, [features, objective.hier_proxies])
    return {
        "loss": loss,
        "loss_data": data,
        "loss_proxies": proxies,
        "z": z,
        "grad_features": grad_features,
        "grad_proxies": grad_proxies,
    }


METRIC_NAMES = {"PA": "hier_pa", "PNCA": "hier_pnca", "MS": "hier_ms", "SupCon": "hier_supcon"}
STATE_NAMES = {
    "head_weight": "head.linear.weight",
    "head_bias": "head.linear.bias",
    "hier_proxies": "objective.hier_proxies",
    "proxies": "objective.metric.proxies",
}


def total_step(case: Case, dtype: torch.dtype) -> Numbers:
    """Features through the head, the metric loss and the regulariser."""
    known = ("loss", "lambda1", "lambda2", "c", "clip_r", "tau", "margin", "topk", "t_per_anchor")
    known += ("noise", "pa_alpha", "pa_margin", "layernorm_eps")
    refuse_unknown(case.params, known, what="params")
    features, labels = leaf(case.inputs["backbone_features"], dtype), tensor(case.inputs["labels"])
    weights = case.inputs["learnables"]
    dim = tensor(weights["hier_proxies"]).shape[1]
    objective, head = _hier(
        case,
        METRIC_NAMES[case.params["loss"]],
        dim=dim,
        labels=labels,
        num_features=features.shape[1],
        num_classes=len(weights.get("proxies", ())),
    )
    assert head is not None
    whole = nn.ModuleDict({"head": head, "objective": objective}).to(dtype)
    load_state(whole, {STATE_NAMES[name]: value for name, value in weights.items()}, dtype)
    z = head(features)
    terms = objective(Batch.of(z, labels), Progress(), _hier_draws(case, dtype))
    learned = dict(whole.named_parameters())
    found = gradients(terms["loss"], [features, *(learned[STATE_NAMES[n]] for n in weights)])
    return {
        "loss": terms["loss"],
        "loss_metric": terms["metric_loss"],
        "loss_hier": terms["hier_loss"],
        "z": z,
        "grad_backbone_features": found[0],
        "grad_learnables": dict(zip(weights, found[1:], strict=True)),
    }


def _hier(
    case: Case,
    metric: str,
    *,
    dim: int,
    labels: Tensor,
    num_features: int | None = None,
    num_classes: int = 0,
) -> tuple[HierObjective, nn.Module | None]:
    """Build HIER with a case's parameters."""
    params = case.params
    if params.get("layernorm_eps", 1e-5) != 1e-5:  # noqa: PLR2004 - the head's
        raise ReplayError(f"the head's layer norm has epsilon 1e-5, not {params['layernorm_eps']}")
    anchored = metric in {"hier_pa", "hier_pnca"}
    given = {"alpha": params.get("pa_alpha", 32), "margin": params.get("pa_margin", 0.1)}
    proxies = case.inputs.get("proxies") or case.inputs["learnables"]["hier_proxies"]
    parts: LossParts = harness.build(
        "loss",
        "hier",
        {
            "metric": metric,
            "metric_params": given if anchored else {},
            "lambda1": params.get("lambda1", 1),
            "lambda2": params.get("lambda2", 1),
            "num_proxies": len(proxies),
            "topk": params["topk"],
            "triplets_per_anchor": params["t_per_anchor"],
            "tau": params["tau"],
            "margin": params["margin"],
            "c": params["c"],
            "clip_radius": params["clip_r"],
        },
        num_classes=max(num_classes, int(labels.max()) + 1),
        embedding_dim=dim,
        feature_dim=num_features,
    )
    assert isinstance(parts.objective, HierObjective)
    return parts.objective, parts.head


# --- metric losses ------------------------------------------------------------------------------


def _ball(params: dict[str, Any]) -> dict[str, Any]:
    return {**{k: v for k, v in params.items() if k != "hyp_c"}, "c": params["hyp_c"]}


def supcon(case: Case, dtype: torch.dtype) -> Numbers:
    """Embeddings (n, m, D) of n classes with m images each."""
    refuse_unknown(case.params, ("tau", "hyp_c", "IPC"), what="params")
    embeddings = leaf(case.inputs["embeddings"], dtype)
    labels = tensor(case.inputs["labels"]).repeat_interleave(embeddings.shape[1])
    params = {"tau": float(case.params["tau"]), "c": float(case.params["hyp_c"])}
    objective = harness.build("loss", "hier_supcon", params).objective
    z = embeddings.flatten(0, 1)
    loss = objective(Batch.of(z, labels), Progress())
    entropies = partner_entropies(ball_similarities(z, params["c"]) / params["tau"], labels)
    place, count = places(labels), range(embeddings.shape[1])

    def term(a: int, b: int) -> float:
        return entropies[place == a][:, place == b].sum().item() / len(embeddings)

    return {
        "loss": loss,
        "pairwise_terms": [[None if a == b else term(a, b) for b in count] for a in count],
        "grad_embeddings": gradients(loss, [embeddings])[0],
    }


# --- the training around it ---------------------------------------------------------------------


SCHEDULES: Mapping[str, Callable[..., Any]] = {"step": step_factors, "cosine": cosine_factors}


def lr_schedule(case: Case, dtype: torch.dtype) -> Numbers:  # noqa: ARG001 - always float64
    """Factors of a schedule, and the learning rates of the four groups."""
    known = ("kind", "schedule_args", "base_lr", "batch_size_per_gpu", "world_size")
    refuse_unknown(case.params, (*known, "warmup_epochs", "fc_lr_scale"), what="params")
    params = case.params
    if params["kind"] not in SCHEDULES:
        raise ReplayError(f"unknown schedule {params['kind']!r}")
    args = params["schedule_args"]
    counts = {"step_size", "epochs", "niter_per_ep"}
    factors = SCHEDULES[params["kind"]](
        **{name: value if name in counts else float(value) for name, value in args.items()}
    )
    rates = learning_rates(
        factors,
        base_lr=float(params["base_lr"]),
        batch_size=params["batch_size_per_gpu"] * params["world_size"],
        steps_per_epoch=args["niter_per_ep"],
        warmup_epochs=params["warmup_epochs"],
        head_factor=float(params["fc_lr_scale"]),
    )
    return {"schedule": factors, "lr_rows_backbone_lastlayer_hierproxies_metricproxies": rates}


def grad_clip_value(case: Case, dtype: torch.dtype) -> Numbers:
    """Clip as `training.clip.value` does."""
    refuse_unknown(case.params, ("clip_value",), what="params")
    parameter = nn.Parameter(torch.zeros_like(tensor(case.inputs["grad"], dtype)))
    parameter.grad = tensor(case.inputs["grad"], dtype)
    nn.utils.clip_grad_value_([parameter], case.params["clip_value"])
    return {"clipped": parameter.grad}


def ipc_sampler(case: Case, dtype: torch.dtype) -> Numbers:  # noqa: ARG001 - integers
    """Classes of every batch; each of several processes takes a run of them."""
    known = ("batch_size_per_rank", "images_per_class", "world_size", "epoch")
    refuse_unknown(case.params, known, what="params")
    params, targets = case.params, np.asarray(case.inputs["targets"], dtype=np.int64)
    ranks, m = params["world_size"], params["images_per_class"]
    # theirs leaves a batch smaller than asked for where m does not divide it
    num_classes = params["batch_size_per_rank"] * ranks // m
    batch_size = params["batch_size_per_rank"] * ranks
    context = SamplerContext(
        labels=targets, batch_size=num_classes * m, iterations=len(targets) // batch_size or None
    )
    sampler = ImagesPerClass(context, m=m, published_classes=True)
    rows = list(sampler.batches(params["epoch"]))[: len(targets) // batch_size]
    classes = [[int(targets[row]) for row in batch[::m]] for batch in rows]
    share = num_classes // ranks
    return {
        "classes_per_rank_per_batch": [
            [batch[rank * share : (rank + 1) * share] for batch in classes]
            for rank in range(ranks)
        ],
        "reported_len": len(targets) // ranks,
        "yielded": len(classes) * share * m,
    }


def recall(case: Case, dtype: torch.dtype) -> Numbers:  # noqa: ARG001 - ranks follow float32
    """Recall at each k; with a gallery apart, with disjoint and with colliding ids."""
    refuse_unknown(case.params, ("hyp_c", "k"), what="params")
    inputs, c = case.inputs, float(case.params["hyp_c"])
    distance = PoincareBall(c).distances if c else "cosine"
    if "query" not in inputs:
        ranking = ranking_of(
            (inputs["embeddings"], inputs["labels"]), distance=distance, query_ids=inputs["index"]
        )
        return {"recall": _recalls(ranking, case)}
    sides = (
        (inputs["query"], inputs["query_labels"]),
        (inputs["gallery"], inputs["gallery_labels"]),
    )
    colliding = ranking_of(
        *sides,
        distance=distance,
        query_ids=inputs["index_query"],
        gallery_ids=inputs["index_gallery"],
    )
    return {
        "recall_disjoint_indices": _recalls(ranking_of(*sides, distance=distance), case),
        "recall_colliding_indices": _recalls(colliding, case),
    }


def _recalls(ranking: Any, case: Case) -> list[float]:  # noqa: ANN401 - opaque here
    found = [harness.build("metric", "rdml_recall_at_k", {"k": k}) for k in case.params["k"]]
    return [metric(ranking) for metric in found]


ADAPTERS: Mapping[str, Adapter] = {
    "hier.reciprocal_candidates": reciprocal_candidates,
    "hier.lca_loss_zero_noise": lca_loss,
    "hier.lca_loss_given_noise": lca_loss,
    "hier.full_loss": full_loss,
    "hier.total_step": total_step,
    "hier.pa_angle": LossAdapter("hier_pa"),
    "hier.pnca_angle": LossAdapter("hier_pnca"),
    "hier.ms_angle": LossAdapter("hier_ms"),
    "hier.ms_hyperbolic": LossAdapter("hier_ms_hyperbolic", params=_ball),
    "hier.softtriple_angle": LossAdapter("hier_softtriple", names={"loss_func.fc": "fc"}),
    "hier.supcon": supcon,
    "hier.lr_schedule": lr_schedule,
    "hier.grad_clip_value": grad_clip_value,
    "hier.ipc_sampler": ipc_sampler,
    "hier.recall": recall,
}
