"""Hyp: pairwise cross-entropy in the Poincaré ball (Ermolov et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from harness.api import (
    BuildContext,
    LossParts,
    LossSpec,
    MetricSpec,
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

PAPER = "arXiv:2203.10833"


class HypParams(Params):
    """Parameters of Hyp; defaults are those of the authors' code."""

    c: Annotated[
        float,
        Field(
            ge=0,
            le=10,
            description="the ball has curvature -c; 0 takes the unit sphere and cosines instead",
        ),
        Search(0.01, 1, log=True),
    ] = 0.1
    tau: Annotated[
        float,
        Field(gt=0, le=10, description="temperature; the published sphere has 0.1"),
        Search(0.05, 1, log=True),
    ] = 0.2
    clip_radius: Annotated[
        float | None,
        Field(
            ge=0,
            le=1000,
            description="features are shortened to this length before they enter the ball; "
            "null clips nothing, 0 makes every image the origin (so does the authors' code)",
        ),
    ] = 2.3
    reduction: Annotated[
        Literal["sum", "mean"],
        Field(
            description="over the m (m - 1) ordered pairs of places; the published learning "
            "rates and clipping belong to the sum"
        ),
    ] = "sum"


class HypClassesParams(Params):
    """Parameters of `hyp_classes`."""

    m: Annotated[
        int,
        Field(ge=1, le=1024, description="images of each class; published: 9 for CUB and Cars"),
    ] = 2
    class_seed: Annotated[
        int | None,
        Field(
            ge=0,
            le=10**9,
            description="classes of epoch e come in the order of torch.randperm seeded with "
            "10000 class_seed + e, in every run; null orders them by the run's own seed",
        ),
    ] = 0


class HyperbolicityParams(Params):
    """Parameters of `delta_hyperbolicity`; published: 100 draws of 2,000 points."""

    num_points: Annotated[
        int, Field(ge=4, le=5000, description="points per draw; time grows with their cube")
    ] = 500
    num_draws: Annotated[
        int, Field(ge=1, le=1000, description="draws that are averaged; one if all points fit")
    ] = 10


def build_hyp(params: HypParams, context: BuildContext) -> LossParts:
    """Build the objective with its head and its ranking distance."""
    from harness_hyp.objective import assemble  # torch loads here

    return assemble(params, context)


def build_hyp_classes(params: HypClassesParams, context: SamplerContext) -> Sampler:
    """Build the sampler."""
    from harness_hyp.sampler import ClassPasses

    return ClassPasses(context, m=params.m, class_seed=params.class_seed)


def build_hyperbolicity(params: HyperbolicityParams, _: None) -> Callable[[Any], float]:
    """Build the metric."""
    from harness_hyp.hyperbolicity import delta_hyperbolicity

    return partial(delta_hyperbolicity, **params.model_dump())


@hookimpl
def harness_losses() -> list[LossSpec]:
    """Return the loss."""
    return [
        LossSpec(
            name="hyp",
            summary="Cross-entropy between images of a class, in the Poincaré ball or on a sphere",
            paper=PAPER,
            params=HypParams,
            build=build_hyp,
            min_per_class=2,
            expected_failures={
                "order_of_the_batch_does_not_matter": "the n-th images of all classes are compared"
            },
        )
    ]


@hookimpl
def harness_samplers() -> list[SamplerSpec]:
    """Return the sampler."""
    return [
        SamplerSpec(
            name="hyp_classes",
            summary="m images of every class once an epoch, cut into batches of whole classes",
            paper=PAPER,
            params=HypClassesParams,
            build=build_hyp_classes,
            images_per_class="m",
        )
    ]


@hookimpl
def harness_metrics() -> list[MetricSpec]:
    """Return the diagnostic."""
    return [
        MetricSpec(
            name="delta_hyperbolicity",
            summary="how far from a tree the embeddings are, relative to their diameter",
            paper=PAPER,
            params=HyperbolicityParams,
            build=build_hyperbolicity,
            higher_is_better=False,
        )
    ]


REPLAYS = {
    "hyp.pairwise_ce": "loss of one ordered pair of places",
    "hyp.total_step": "head and loss of a whole batch",
    "hyp.class_sampler": "order of the classes of an epoch",
    "hyp.recall": "recall where the first neighbour is dropped",
    "hyp.recall_inshop": "recall with a gallery apart",
    "hyp.delta_hyperbolicity": "hyperbolicity of all points",
    "hyperbolic.maps": "maps and distances of harness.kit.hyperbolic",
    "hyperbolic.to_poincare": "features into the ball, and gradients back",
    "hyperbolic.dist_matrix": "all distances, and their gradients",
}


def _build_replay(name: str, _: NoParams, __: None) -> Adapter:
    from harness_hyp.replays import ADAPTERS

    return ADAPTERS[name]


@hookimpl
def harness_replays() -> list[ReplaySpec]:
    """Return how golden cases of Hyp, and of the ball it computes in, are replayed."""
    return [
        ReplaySpec(name=name, summary=summary, build=partial(_build_replay, name))
        for name, summary in REPLAYS.items()
    ]


@hookimpl
def harness_recipes() -> list[RecipeSpec]:
    """Return the published settings, in the ball and on the sphere."""
    from harness_hyp.published import cards

    return cards()
