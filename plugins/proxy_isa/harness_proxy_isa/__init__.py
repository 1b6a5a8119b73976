"""Proxy-ISA: informative sample-aware proxies (Li et al., ACM Multimedia Asia 2022)."""

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

PAPER = "arXiv:2211.10382"


class ProxyIsaParams(Params):
    """Parameters of Proxy-ISA; defaults are those of the authors' CUB-200-2011 command."""

    alpha: Annotated[
        float, Field(gt=0, le=1000, description="scale of the cosines"), Search(4, 64, log=True)
    ] = 32.0
    delta: Annotated[
        float, Field(ge=-2, le=2, description="margin added to the cosines"), Search(0, 0.4)
    ] = 0.1
    v: Annotated[
        float,
        Field(gt=1, le=1e6, description="number of samples at which a class is saturated"),
        Search(10, 1000, log=True),
    ] = 100.0
    k: Annotated[
        float,
        Field(ge=0, le=100, description="widening of the informative band as a class is learnt"),
        Search(0.1, 1),
    ] = 0.9
    lam: Annotated[
        float, Field(ge=0, le=10, description="least width of the informative band"), Search(0, 1)
    ] = 0.1
    h: Annotated[
        float,
        Field(ge=0, le=10, description="factor on the similarity of a class to its memory"),
        Search(0.05, 1, log=True),
    ] = 0.15
    tau: Annotated[
        float,
        Field(ge=-1000, le=1000, description="how many samples before `v` a weight is halfway"),
        Search(0.5, 10, log=True),
    ] = 1.5
    memory: Annotated[
        Literal["published", "fixed"],
        Field(description="the authors' queue, or a ring that knows which slots are filled"),
    ] = "published"
    memory_size: Annotated[
        int, Field(ge=1, le=100_000_000, description="embeddings that the memory holds")
    ] = 55_000
    memory_epoch: Annotated[
        int, Field(ge=0, le=1_000_000, description="first epoch, from 0, that uses the memory")
    ] = 2
    filter_epoch: Annotated[
        int,
        Field(ge=0, le=1_000_000, description="first epoch, from 0, that leaves out outliers"),
    ] = 3
    lr_scale: Annotated[
        float,
        Field(gt=0, le=1e6, description="factor on the learning rate, for the proxies"),
        Search(1, 1000, log=True),
    ] = 100.0
    normalize_embeddings: Annotated[
        bool,
        Field(description="scale embeddings to unit length, as the published network does"),
    ] = True


def build_proxy_isa(params: ProxyIsaParams, context: BuildContext) -> LossParts:
    """Build the objective and its proxies."""
    from harness_proxy_isa.objective import assemble  # torch loads here

    return assemble(params, context)


@hookimpl
def harness_losses() -> list[LossSpec]:
    """Return the loss of this plugin."""
    return [
        LossSpec(
            name="proxy_isa",
            summary="Proxy-Anchor whose pairs are weighed by how informative they are",
            paper=PAPER,
            params=ProxyIsaParams,
            build=build_proxy_isa,
            min_per_class=1,
            learnable=True,
        )
    ]


def build_replay(_: NoParams, __: None) -> Adapter:
    """Return what replays the golden cases of Proxy-ISA."""
    from harness_proxy_isa.replays import replay_proxy_isa

    return replay_proxy_isa


@hookimpl
def harness_replays() -> list[ReplaySpec]:
    """Return how golden cases are replayed."""
    return [ReplaySpec(name="proxy_isa", summary="Proxy-ISA, step by step", build=build_replay)]


@hookimpl
def harness_recipes() -> list[RecipeSpec]:
    """Return the published settings."""
    from harness_proxy_isa.published import cards

    return cards()
