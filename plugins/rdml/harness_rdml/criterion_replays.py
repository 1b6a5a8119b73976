"""How golden cases of the criteria are replayed: loss, terms, gradients and steps on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from harness.api import Batch, BuildContext, LossParts, Pairs, Params
from harness.testing.golden import (
    Case,
    Numbers,
    ReplayError,
    batch_of,
    gradients,
    leaf,
    load_state,
    one_evaluation,
    refuse_unknown,
    tensor,
)
from harness_rdml.class_criteria import LOWEST_COSINE
from harness_rdml.criterion import Criterion, triplets_of
from harness_rdml.criterion_cards import CRITERIA
from harness_rdml.criterion_params import (
    ArcFaceParams,
    HistogramParams,
    MarginParams,
    MultiSimilarityParams,
    QuadrupletParams,
)
from harness_rdml.pair_criteria import hard_pairs, histogram_loss, pair_histograms, weights_kept
from harness_rdml.separation import make_separation
from harness_rdml.triplet_criteria import fourth_pool, margin_hinges, quadruplet_terms

INPUTS = ("embeddings", "labels", "triplets", "anchors", "positives", "negatives", "learnables")
PARAMS = {
    "alpha_degrees": "alpha",
    "angular_margin_rad": "angular_margin",
}


def _renamed(params: dict[str, Any]) -> dict[str, Any]:
    return {PARAMS.get(name, name): value for name, value in params.items()}


@dataclass(frozen=True, slots=True)
class CriterionAdapter:
    """Replays a criterion by its card.

    Attributes:
        name: Of the card.
        params: Turns a case's parameters, without `num_classes`, into those of the card.
        also: Returns numbers on the way that a case expects beside loss, terms and gradients; None
            where there are none.
    """

    name: str
    params: Callable[[dict[str, Any]], dict[str, Any]] = _renamed
    also: Callable[[Case, Batch, Any], Numbers] | None = None

    def __call__(self, case: Case, dtype: torch.dtype) -> Numbers:
        """Run one evaluation."""
        refuse_unknown(case.inputs, INPUTS)
        batch = replace(batch_of(case, dtype), tuples=_tuples(case, dtype))
        params, parts = self._built(case, batch)
        parts.objective.to(dtype)
        load_state(parts.objective, case.inputs.get("learnables", {}), dtype)
        numbers = one_evaluation(parts.objective, batch)
        return {
            **numbers,
            **numbers["components"],
            "grad_learnables": numbers["grad_params"],
            **(self.also(case, batch, params) if self.also else {}),
        }

    def _built(self, case: Case, batch: Batch) -> tuple[Params, LossParts]:
        given = dict(case.params)
        known = len(case.inputs.get("learnables", {}).get("beta", ()))
        classes = given.pop("num_classes", None) or known or int(batch.labels.max()) + 1
        card = next(card for card in CRITERIA if card.name == self.name)
        params = card.params(**self.params(given))
        return params, card.build(params, BuildContext(classes, batch.embeddings.shape[1]))


def _tuples(case: Case, dtype: torch.dtype) -> Any:  # noqa: ANN401 - Tuples or None
    """Return the triplets of a case, or pairs from anchors with lists of negatives."""
    if "anchors" not in case.inputs:
        return batch_of(case, dtype).tuples
    negatives: Sequence[Sequence[int]] = case.inputs["negatives"]
    anchors = tensor(case.inputs["anchors"])
    repeats = torch.tensor([len(row) for row in negatives])
    flat = torch.tensor([index for row in negatives for index in row], dtype=torch.int64)
    positives = tensor(case.inputs["positives"])
    return Pairs(anchors, positives, anchors.repeat_interleave(repeats), flat)


# --- margin -------------------------------------------------------------------------------------


def _margin_params(params: dict[str, Any]) -> dict[str, Any]:
    match str(params.pop("beta", "")).split():
        case ["learnable", "per", "class"]:
            return params
        case ["constant", value]:
            return params | {"learn_beta": False, "beta": float(value)}
        case []:  # a case without boundaries
            return params | {"learn_beta": False}
        case other:
            raise ReplayError(f"unknown beta {' '.join(other)!r}")


def _margin_steps(case: Case, batch: Batch, params: MarginParams) -> Numbers:
    learned = case.inputs.get("learnables", {}).get("beta")
    assert batch.tuples is not None
    boundary = (
        params.beta if learned is None else torch.tensor(learned)[batch.labels[batch.tuples[0]]]
    )
    hinges = margin_hinges(batch, boundary, margin=params.margin)
    active = hinges.positive > 0, hinges.negative > 0
    return {
        "d_ap": hinges.d_ap,
        "d_an": hinges.d_an,
        "pos_loss": hinges.positive,
        "neg_loss": hinges.negative,
        "pair_count_or": (active[0] | active[1]).sum(),
        "pair_count_sum_not_used": active[0].sum() + active[1].sum(),
    }


# --- multi-similarity, SNR, N-pair --------------------------------------------------------------


def _multi_similarity_steps(_: Case, batch: Batch, params: MultiSimilarityParams) -> Numbers:
    similarity = batch.embeddings @ batch.embeddings.T
    hard = hard_pairs(similarity, batch, slack=params.margin)
    valid = hard.positive.any(1) & hard.negative.any(1)
    return {"valid_anchor": valid, "n_valid": valid.sum()}


def _snr_params(params: dict[str, Any]) -> dict[str, Any]:
    # their criterion looks at the name of the miner; ours is told
    if params.pop("miner_name") == "distance":
        params["reg_lambda"] = 0.0
    return params | {"fail_as_published": True}


def _npair_params(params: dict[str, Any]) -> dict[str, Any]:
    quarter = "bninception" in params.pop("arch")
    return params | {"embedding_scale": 0.25 if quarter else 1.0}


# --- quadruplet ---------------------------------------------------------------------------------


def quadruplet(case: Case, dtype: torch.dtype) -> Numbers:
    """Run a case with its own fourth points, in both variants, after a look at their pools."""
    refuse_unknown(case.inputs, ("embeddings", "labels", "triplets", "fourth", "fourth_pools"))
    batch, params = batch_of(case, dtype), QuadrupletParams(**case.params)
    fourth = tensor(case.inputs["fourth"])
    triplets = triplets_of(batch)
    pools = [row.nonzero().squeeze(1).tolist() for row in fourth_pool(batch, triplets, params)]
    if pools != case.inputs["fourth_pools"]:
        raise ReplayError(f"fourth points are drawn from {pools}")
    exists = torch.ones_like(fourth, dtype=torch.bool)
    intended = params.model_copy(update={"variant": "intended"})
    paired = quadruplet_terms(batch, fourth, exists, intended)["quadruplet_term"]

    def formula(batch: Batch) -> dict[str, Tensor]:
        return quadruplet_terms(batch, fourth, exists, params)

    numbers = one_evaluation(Criterion(formula), batch)
    return {
        **numbers,
        **numbers["components"],
        "quadruplet_term_as_published": numbers["components"]["quadruplet_term"],
        "quadruplet_term_paired_intended": paired,
    }


# --- ArcFace, histogram -------------------------------------------------------------------------


def _arcface_steps(case: Case, batch: Batch, _: ArcFaceParams) -> Numbers:
    weights = tensor(case.inputs["learnables"]["class_map"], batch.embeddings.dtype)
    cosines = batch.embeddings @ functional.normalize(weights).T
    return {
        "n_clamped_low": (cosines < LOWEST_COSINE).sum(),
        "n_clamped_high": (cosines > 1 - LOWEST_COSINE).sum(),
    }


def _histogram_steps(_: Case, batch: Batch, params: HistogramParams) -> Numbers:
    found = pair_histograms(batch, params=params)
    kept = weights_kept(params.nbins, exact=False)
    intended = params.model_copy(update={"variant": "intended"})
    return {
        "hist_pos": found.positive,
        "hist_neg": found.negative,
        "mass_pos": found.positive.sum(),
        "mass_neg": found.negative.sum(),
        "bins_whose_lower_weight_is_lost": [r for r, ok in enumerate(kept.lower) if not ok],
        "bins_whose_upper_weight_is_lost": [r for r, ok in enumerate(kept.upper[:-1]) if not ok],
        "reference_loss_exact_binning": histogram_loss(batch, params=intended),
    }


# --- adversarial separation ---------------------------------------------------------------------


def adversarial_separation(case: Case, dtype: torch.dtype) -> Numbers:
    """Run the criterion alone, on embeddings by name."""
    refuse_unknown(case.inputs, ("embeddings_by_name", "learnables"))
    parts = {name: leaf(rows, dtype) for name, rows in case.inputs["embeddings_by_name"].items()}
    params = dict(case.params)
    separation = make_separation(
        params.pop("directions"),
        params.pop("weights"),
        dim=next(iter(parts.values())).shape[1],
        hidden=params.pop("proj_dim"),
        generator=torch.Generator(),
    ).to(dtype)
    refuse_unknown(params, (), what="params")
    load_state(separation, case.inputs["learnables"], dtype)
    learnables = dict(separation.named_parameters())
    loss = separation(parts)
    found = gradients(loss, [*parts.values(), *learnables.values()])
    return {
        "loss": loss,
        "grad_embeddings_by_name": dict(zip(parts, found, strict=False)),
        "grad_learnables": dict(zip(learnables, found[len(parts) :], strict=True)),
    }


# --- adapters by the name of the criterion ------------------------------------------------------

angular = CriterionAdapter("rdml_angular")
arcface = CriterionAdapter("rdml_arcface", also=_arcface_steps)
contrastive = CriterionAdapter("rdml_contrastive")
histogram = CriterionAdapter("rdml_histogram", also=_histogram_steps)
lifted = CriterionAdapter("rdml_lifted")
margin = CriterionAdapter("rdml_margin", params=_margin_params, also=_margin_steps)
multisimilarity = CriterionAdapter("rdml_multisimilarity", also=_multi_similarity_steps)
npair = CriterionAdapter("rdml_npair", params=_npair_params)
proxynca = CriterionAdapter("rdml_proxynca")
snr = CriterionAdapter("rdml_snr", params=_snr_params)
softmax = CriterionAdapter("rdml_softmax")
softtriplet = CriterionAdapter("rdml_softtriplet")
triplet = CriterionAdapter("rdml_triplet")
