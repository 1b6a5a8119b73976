"""Direction regularisation of three losses (Mohan et al., CVPR 2020).

A negative is rewarded for leaving its anchor at a right angle to the positive: each loss subtracts
gamma cos(negative - anchor, positive - anchor) from the negative's violation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from harness.api import (
    BuildContext,
    LossParts,
    LossSpec,
    NoParams,
    Params,
    RecipeSpec,
    ReplaySpec,
    Search,
    hookimpl,
)

if TYPE_CHECKING:
    from harness.testing.golden import Adapter

PAPER = "https://openaccess.thecvf.com/content_CVPR_2020/html/Mohan_Moving_in_the_Right_Direction_A_Regularization_for_Deep_Metric_CVPR_2020_paper.html"


class DirectionParams(Params):
    """What the three losses share."""

    gamma: Annotated[
        float,
        Field(ge=0, le=100, description="weight of the direction; 0 is the plain loss"),
        Search(0.05, 0.6),
    ] = 0.3
    normalize_embeddings: Annotated[
        bool,
        Field(description="scale embeddings to unit length, as the published network does"),
    ] = True


class DrTripletParams(DirectionParams):
    """Parameters of DR-Triplet; defaults are those of the published command line."""

    margin: Annotated[
        float, Field(ge=0, le=100, description="between distances"), Search(0.05, 0.6)
    ] = 0.28
    reduction: Annotated[
        Literal["all", "active"],
        Field(description="mean over all triplets, or over those with a violation"),
    ] = "all"
    squared_distance: Annotated[
        bool, Field(description="compare squares of distances; published: distances")
    ] = False


class DrProxyNcaParams(DirectionParams):
    """Parameters of DR-ProxyNCA; defaults are those of the published command line."""

    eps: Annotated[
        float,
        Field(
            ge=0, le=1, description="least distance to a proxy; 0 is NaN on a proxy, as published"
        ),
    ] = 1e-8
    squared_distance: Annotated[
        bool, Field(description="compare squares of distances; published: distances")
    ] = False
    normalize_proxies: Annotated[
        bool,
        Field(description="scale proxies to unit length at each step; published: at the start"),
    ] = False
    lr_scale: Annotated[
        float,
        Field(gt=0, le=1e6, description="factor on the learning rate, for the proxies"),
        Search(1, 1000, log=True),
    ] = 1.0


class DrMsParams(DirectionParams):
    """Parameters of DR-MS; defaults are those of the published class."""

    scale_pos: Annotated[
        float, Field(gt=0, le=1000, description="scale of positive pairs"), Search(0.5, 20)
    ] = 2.0
    scale_neg: Annotated[
        float, Field(gt=0, le=1000, description="scale of negative pairs"), Search(10, 100)
    ] = 50.0
    base: Annotated[
        float,
        Field(ge=-2, le=2, description="lambda, similarity from which violations count"),
        Search(0, 1),
    ] = 0.7
    mining_margin: Annotated[
        float,
        Field(ge=-2, le=4, description="pairs are kept that much beyond the hardest of the other"),
        Search(0, 0.5),
    ] = 0.1


def build_triplet(params: DrTripletParams, _: BuildContext) -> LossParts:
    """Build DR-Triplet."""
    from harness_direction.triplet import TripletObjective  # torch loads here

    return LossParts(TripletObjective(params))


def build_proxy_nca(params: DrProxyNcaParams, context: BuildContext) -> LossParts:
    """Build DR-ProxyNCA and its proxies."""
    from harness_direction.proxy_nca import assemble

    return assemble(params, context)


def build_ms(params: DrMsParams, _: BuildContext) -> LossParts:
    """Build DR-MS."""
    from harness_direction.multi_similarity import MultiSimilarityObjective

    return LossParts(MultiSimilarityObjective(params))


@hookimpl
def harness_losses() -> list[LossSpec]:
    """Return the losses of this plugin."""
    return [
        LossSpec(
            name="dr_triplet",
            summary="All triplets; negatives are rewarded for leaving at a right angle",
            paper=PAPER,
            params=DrTripletParams,
            build=build_triplet,
            min_per_class=2,
        ),
        LossSpec(
            name="dr_proxy_nca",
            summary="Proxy-NCA; proxies are rewarded for leaving at a right angle",
            paper=PAPER,
            params=DrProxyNcaParams,
            build=build_proxy_nca,
            min_per_class=1,
            learnable=True,
        ),
        LossSpec(
            name="dr_ms",
            summary="Multi-similarity; negatives are rewarded for leaving at a right angle",
            paper=PAPER,
            params=DrMsParams,
            build=build_ms,
            min_per_class=2,
        ),
    ]


def build_replay(_: NoParams, __: None) -> Adapter:
    """Return what replays the golden cases of the three losses."""
    from harness_direction.replays import replay_direction

    return replay_direction


@hookimpl
def harness_replays() -> list[ReplaySpec]:
    """Return how golden cases are replayed."""
    return [
        ReplaySpec(
            name="direction_regularization",
            summary="DR-Triplet, DR-ProxyNCA, DR-MS and plain MS",
            build=build_replay,
        )
    ]


@hookimpl
def harness_recipes() -> list[RecipeSpec]:
    """Return the published settings of the three losses."""
    from harness_direction.published import cards

    return cards()
