"""Cards of the criteria of Revisiting Training Strategies."""

from __future__ import annotations

from collections.abc import Callable

from harness.api import BuildContext, LossParts, LossSpec, Params
from harness_rdml import criterion_params as params

REVISITING = "arXiv:2002.08473"


def _built_by(module: str, function: str) -> Callable[[Params, BuildContext], LossParts]:
    """Return the build of a function in this package, imported when it is called."""

    def build(params: Params, context: BuildContext) -> LossParts:
        from importlib import import_module  # torch loads here

        return getattr(import_module(f"harness_rdml.{module}"), function)(params, context)

    return build


def _formula(module: str, function: str) -> Callable[[Params, BuildContext], LossParts]:
    """Return the build of a criterion that is a function `(batch, params)` and nothing else."""

    def build(params: Params, context: BuildContext) -> LossParts:  # noqa: ARG001 - as all builds
        from functools import partial
        from importlib import import_module

        from harness_rdml.criterion import Criterion

        formula = getattr(import_module(f"harness_rdml.{module}"), function)
        return LossParts(Criterion(partial(formula, params=params)))

    return build


TRIPLET_CRITERIA = (
    LossSpec(
        name="rdml_triplet",
        summary="A negative farther than a positive by a margin, in squared distance",
        paper="arXiv:1503.03832",
        params=params.TripletParams,
        build=_formula("triplet_criteria", "triplet_loss"),
        takes=("triplets",),
        mining_required=True,
        min_per_class=2,
    ),
    LossSpec(
        name="rdml_contrastive",
        summary="Positives within one distance and negatives beyond another",
        paper="http://yann.lecun.com/exdb/publis/pdf/hadsell-chopra-lecun-06.pdf",
        params=params.ContrastiveParams,
        build=_formula("triplet_criteria", "contrastive_loss"),
        takes=("triplets",),
        mining_required=True,
        min_per_class=2,
    ),
    LossSpec(
        name="rdml_margin",
        summary="Pairs on their side of a boundary that is learned for each class",
        paper="arXiv:1706.07567",
        params=params.MarginParams,
        build=_built_by("triplet_criteria", "build_margin"),
        takes=("triplets",),
        mining_required=True,
        min_per_class=2,
        learnable=True,
    ),
    LossSpec(
        name="rdml_snr",
        summary="The triplet loss on ratios of noise to signal",
        paper="arXiv:1904.02616",
        params=params.SnrParams,
        build=_formula("triplet_criteria", "snr_loss"),
        takes=("triplets",),
        mining_required=True,
        min_per_class=2,
    ),
    LossSpec(
        name="rdml_quadruplet",
        summary="A triplet, and its positive pair closer than two negatives",
        paper="arXiv:1704.01719",
        params=params.QuadrupletParams,
        build=_built_by("triplet_criteria", "build_quadruplet"),
        takes=("triplets",),
        mining_required=True,
        min_per_class=2,
        expected_failures={
            "order_of_the_batch_does_not_matter": "fourth images are drawn by their place"
        },
    ),
)

PAIR_CRITERIA = (
    LossSpec(
        name="rdml_multisimilarity",
        summary="Hard pairs of each anchor, weighted softly",
        paper="arXiv:1904.06627",
        params=params.MultiSimilarityParams,
        build=_formula("pair_criteria", "multi_similarity_loss"),
        min_per_class=2,
    ),
    LossSpec(
        name="rdml_lifted",
        summary="A soft maximum over the positives and the negatives of each anchor",
        paper="arXiv:1703.07737",
        params=params.LiftedParams,
        build=_formula("pair_criteria", "lifted_loss"),
        takes=("pairs",),
        min_per_class=2,
    ),
    LossSpec(
        name="rdml_npair",
        summary="A positive against all negatives of its anchor, by cross-entropy",
        paper="https://papers.nips.cc/paper/2016/hash/6b180037abbebea991d8b1232f8a8ca9-Abstract.html",
        params=params.NPairParams,
        build=_formula("pair_criteria", "npair_loss"),
        takes=("pairs",),
        mining_required=True,
        min_per_class=2,
    ),
    LossSpec(
        name="rdml_angular",
        summary="N-pair, and a bound on the angle at each negative",
        paper="arXiv:1708.01682",
        params=params.AngularParams,
        build=_formula("pair_criteria", "angular_loss"),
        takes=("pairs",),
        mining_required=True,
        min_per_class=2,
    ),
    LossSpec(
        name="rdml_histogram",
        summary="The chance that a negative pair is more similar than a positive one",
        paper="arXiv:1611.00822",
        params=params.HistogramParams,
        build=_formula("pair_criteria", "histogram_loss"),
        min_per_class=2,
    ),
)

CLASS_CRITERIA = (
    LossSpec(
        name="rdml_softmax",
        summary="Classification by unit weights, divided by a temperature",
        paper="arXiv:1811.12649",
        params=params.SoftmaxParams,
        build=_built_by("class_criteria", "build_softmax"),
        learnable=True,
    ),
    LossSpec(
        name="rdml_arcface",
        summary="Classification by cosines, with a margin added to the true angle",
        paper="arXiv:1801.07698",
        params=params.ArcFaceParams,
        build=_built_by("class_criteria", "build_arcface"),
        learnable=True,
    ),
    LossSpec(
        name="rdml_proxynca",
        summary="Each image near the proxy of its class and far from all others",
        paper="arXiv:1703.07464",
        params=params.ProxyNcaParams,
        build=_built_by("class_criteria", "build_proxynca"),
        learnable=True,
    ),
    LossSpec(
        name="rdml_softtriplet",
        summary="Classification by several centres for each class",
        paper="arXiv:1909.05235",
        params=params.SoftTripletParams,
        build=_built_by("class_criteria", "build_softtriplet"),
        learnable=True,
    ),
)

SEPARATION = LossSpec(
    name="rdml_adversarial_separation",
    summary="Parts of the embedding that cannot be predicted from one another",
    paper="arXiv:2004.13458",
    params=params.SeparationParams,
    build=_built_by("separation", "build_separation"),
    min_per_class=2,
    learnable=True,
)

CRITERIA: tuple[LossSpec, ...] = (*TRIPLET_CRITERIA, *PAIR_CRITERIA, *CLASS_CRITERIA, SEPARATION)
