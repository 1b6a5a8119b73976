"""HIER: hierarchical regularisation with hyperbolic proxies (Kim, Jeong and Kwak, CVPR 2023)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from harness.api import (
    BuildContext,
    LossParts,
    LossSpec,
    NoParams,
    Params,
    RecipeSpec,
    ReplaySpec,
    Sampler,
    SamplerContext,
    SamplerSpec,
    Search,
    hookimpl,
)

if TYPE_CHECKING:
    from harness.testing.golden import Adapter

PAPER = "arXiv:2212.14258"

Curvature = Annotated[
    float, Field(ge=0, le=10, description="the ball has curvature -c; 0: inner products instead")
]
Scale = Annotated[float, Field(gt=0, le=1000, description="scale of the cosines")]
Margin = Annotated[float, Field(ge=0, le=2, description="margin of the cosines")]


class HierParams(Params):
    """Parameters of HIER; defaults are those of the published scripts."""

    metric: Annotated[
        str,
        Field(min_length=1, description="name of the metric loss: hier_pa, or any registered one"),
    ] = "hier_pa"
    metric_params: Annotated[
        dict[str, Any], Field(description="parameters of the metric loss, such as {alpha: 16}")
    ] = Field(default_factory=dict)
    lambda1: Annotated[float, Field(ge=0, le=1000, description="weight of the metric loss")] = 1.0
    lambda2: Annotated[
        float,
        Field(ge=0, le=1000, description="weight of the regulariser; published: 0.5 or 1"),
        Search(0.1, 2, log=True),
    ] = 0.5
    num_proxies: Annotated[
        int, Field(ge=2, le=65536, description="P, the number of hierarchical proxies")
    ] = 512
    topk: Annotated[
        int,
        Field(
            ge=2,
            le=4096,
            description="two points are related that are among each other's topk nearest, "
            "themselves included; at least the images of a class in a batch",
        ),
        Search(5, 60),
    ] = 20
    triplets_per_anchor: Annotated[
        int, Field(ge=1, le=1000, description="t, triplets drawn for each anchor")
    ] = 50
    tau: Annotated[
        float,
        Field(gt=0, le=10, description="distances are divided by it before an ancestor is chosen"),
        Search(0.01, 1, log=True),
    ] = 0.1
    margin: Annotated[
        float, Field(ge=0, le=10, description="margin of the distances"), Search(0.01, 1, log=True)
    ] = 0.1
    c: Annotated[
        float,
        Field(gt=0, le=10, description="the ball has curvature -c"),
        Search(0.01, 1, log=True),
    ] = 0.1
    clip_radius: Annotated[
        float | None,
        Field(
            ge=0,
            le=1000,
            description="features are shortened to this length before they enter the ball; "
            "null clips nothing, 0 makes every image the origin (so does the authors' code)",
        ),
    ] = 2.3
    proxy_lr_factor: Annotated[
        float,
        Field(gt=0, le=1e6, description="factor on the learning rate, for hierarchical proxies"),
        Search(1, 1000, log=True),
    ] = 50.0
    metric_lr_factor: Annotated[
        float,
        Field(
            gt=0,
            le=1e6,
            description="factor on the learning rate, for parameters of the metric loss that it "
            "gives no group of their own",
        ),
        Search(10, 100_000, log=True),
    ] = 10_000.0


class ProxyParams(Params):
    """Parameters of `hier_pa` and `hier_pnca`."""

    alpha: Annotated[Scale, Search(4, 64, log=True)] = 32.0
    margin: Annotated[Margin, Search(0, 0.5)] = 0.1


class MsParams(Params):
    """Parameters of `hier_ms`."""

    alpha: Annotated[
        float,
        Field(gt=0, le=1000, description="weight of positive pairs"),
        Search(0.1, 10, log=True),
    ] = 2.0
    beta: Annotated[
        float,
        Field(gt=0, le=1000, description="weight of negative pairs"),
        Search(5, 100, log=True),
    ] = 50.0
    base: Annotated[
        float, Field(ge=-1, le=1, description="cosine that pairs are compared with"), Search(0, 1)
    ] = 0.5


class HyperbolicMsParams(Params):
    """Parameters of `hier_ms_hyperbolic`."""

    alpha: Annotated[
        float,
        Field(gt=0, le=1000, description="weight of positive pairs"),
        Search(0.1, 10, log=True),
    ] = 1.0
    beta: Annotated[
        float,
        Field(gt=0, le=1000, description="weight of negative pairs"),
        Search(1, 50, log=True),
    ] = 5.0
    c: Curvature = 0.1


class SoftTripleParams(Params):
    """Parameters of `hier_softtriple`."""

    centers_per_class: Annotated[
        int, Field(ge=1, le=1000, description="K, centres of each class")
    ] = 10
    la: Annotated[Scale, Search(4, 64, log=True)] = 20.0
    gamma: Annotated[
        float,
        Field(gt=0, le=100, description="temperature of the choice among centres"),
        Search(0.01, 1, log=True),
    ] = 0.1
    margin: Annotated[Margin, Search(0, 0.5)] = 0.01


class SupConParams(Params):
    """Parameters of `hier_supcon`."""

    tau: Annotated[
        float, Field(gt=0, le=10, description="temperature"), Search(0.05, 1, log=True)
    ] = 0.2
    c: Curvature = 0.1


class IpcParams(Params):
    """Parameters of `ipc`."""

    m: Annotated[
        int, Field(ge=1, le=1024, description="images of each class; published: 2, 8 for SupCon")
    ] = 2
    published_classes: Annotated[
        bool,
        Field(
            description="classes of batch b in epoch e are those of the authors' code, in every "
            "run; false draws them from the run's own seed"
        ),
    ] = True


def build_hier(params: HierParams, context: BuildContext) -> LossParts:
    """Build the objective with head, distance and groups of parameters."""
    from harness_hier.objective import assemble  # torch loads here

    return assemble(params, context)


def _build_with_classes(kind: str, params: Params, context: BuildContext) -> LossParts:
    """Build a metric loss that has parameters for each class."""
    from harness.kit.randomness import generator_of
    from harness_hier import metric_losses

    build = getattr(metric_losses, kind)
    sizes = context.num_classes, context.embedding_dim
    return LossParts(build(*sizes, **params.model_dump(), generator=generator_of(context)))


def _build_plain(kind: str, params: Params, _: BuildContext) -> LossParts:
    """Build a metric loss without parameters of its own."""
    from harness_hier import metric_losses

    return LossParts(getattr(metric_losses, kind)(**params.model_dump()))


def build_ipc(params: IpcParams, context: SamplerContext) -> Sampler:
    """Build the sampler."""
    from harness_hier.sampler import ImagesPerClass

    return ImagesPerClass(context, m=params.m, published_classes=params.published_classes)


def _metric_card(
    name: str,
    summary: str,
    params: type[Params],
    build: Callable[..., LossParts],
    **facts: Any,  # noqa: ANN401 - fields of the card
) -> LossSpec:
    return LossSpec(name=name, summary=summary, paper=PAPER, params=params, build=build, **facts)


_CARDS = (
    _metric_card(
        "hier_pa",
        "Proxy-Anchor, as HIER's code has it",
        ProxyParams,
        partial(_build_with_classes, "ProxyAnchor"),
        learnable=True,
    ),
    _metric_card(
        "hier_pnca",
        "Proxy-Anchor's terms by sample; HIER's code calls it PNCA",
        ProxyParams,
        partial(_build_with_classes, "ProxySamples"),
        learnable=True,
    ),
    _metric_card(
        "hier_ms",
        "Multi-similarity over all pairs, as HIER's code has it",
        MsParams,
        partial(_build_plain, "MultiSimilarity"),
    ),
    _metric_card(
        "hier_ms_hyperbolic",
        "Multi-similarity of distances in the ball, around their mean",
        HyperbolicMsParams,
        partial(_build_plain, "HyperbolicMultiSimilarity"),
    ),
    _metric_card(
        "hier_softtriple",
        "SoftTriple, as HIER's code meant it",
        SoftTripleParams,
        partial(_build_with_classes, "SoftTriple"),
        learnable=True,
    ),
    _metric_card(
        "hier_supcon",
        "The loss of Hyp over the images of a class, as HIER's code scales it",
        SupConParams,
        partial(_build_plain, "SupCon"),
        min_per_class=2,
        expected_failures={
            "order_of_the_batch_does_not_matter": "with three or more images of a class, a term "
            "sees those at two places of the class, as published"
        },
    ),
)
METRIC_CARDS: Mapping[str, LossSpec] = {card.name: card for card in _CARDS}


@hookimpl
def harness_losses() -> list[LossSpec]:
    """Return HIER and the metric losses of its code."""
    return [
        LossSpec(
            name="hier",
            summary="A metric loss and a hierarchy of proxies in the Poincaré ball",
            paper=PAPER,
            params=HierParams,
            build=build_hier,
            learnable=True,
            expected_failures={
                "order_of_the_batch_does_not_matter": "triplets and noise are drawn row by row"
            },
            check_params={"num_proxies": 24, "triplets_per_anchor": 4, "topk": 6},
        ),
        *_CARDS,
    ]


@hookimpl
def harness_samplers() -> list[SamplerSpec]:
    """Return HIER's sampler."""
    return [
        SamplerSpec(
            name="ipc",
            summary="m images of each of batch_size / m classes, with replacement",
            paper=PAPER,
            params=IpcParams,
            build=build_ipc,
            images_per_class="m",
        )
    ]


REPLAYS = {
    "hier.reciprocal_candidates": "who is related to whom",
    "hier.lca_loss_zero_noise": "one term without noise",
    "hier.lca_loss_given_noise": "one term with given noise",
    "hier.full_loss": "both terms",
    "hier.total_step": "head, metric loss and both terms",
    "hier.pa_angle": "Proxy-Anchor",
    "hier.pnca_angle": "Proxy-Anchor by sample",
    "hier.ms_angle": "multi-similarity",
    "hier.ms_hyperbolic": "multi-similarity in the ball",
    "hier.softtriple_angle": "SoftTriple",
    "hier.supcon": "SupCon",
    "hier.lr_schedule": "learning rates of every step",
    "hier.grad_clip_value": "clipped gradients",
    "hier.ipc_sampler": "classes of every batch",
    "hier.recall": "recall in the ball",
}


def _build_replay(name: str, _: NoParams, __: None) -> Adapter:
    from harness_hier.replays import ADAPTERS

    return ADAPTERS[name]


@hookimpl
def harness_replays() -> list[ReplaySpec]:
    """Return how golden cases of HIER are replayed."""
    return [
        ReplaySpec(name=name, summary=summary, build=partial(_build_replay, name))
        for name, summary in REPLAYS.items()
    ]


@hookimpl
def harness_recipes() -> list[RecipeSpec]:
    """Return the settings of the published scripts."""
    from harness_hier.published import cards

    return cards()
