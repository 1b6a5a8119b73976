"""HIST: hypergraph-induced semantic tuplet loss (Lim et al., CVPR 2022)."""

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
from harness_hist.published import cards

if TYPE_CHECKING:
    from harness.testing.golden import Adapter

PAPER = "https://openaccess.thecvf.com/content/CVPR2022/html/Lim_Hypergraph-Induced_Semantic_Tuplet_Loss_for_Deep_Metric_Learning_CVPR_2022_paper.html"


class HistParams(Params):
    """Parameters of HIST; defaults are those of the authors' code."""

    tau: Annotated[
        float,
        Field(gt=0, le=1000, description="scale of the distances in the softmax over classes"),
        Search(1, 64, log=True),
    ] = 32.0
    alpha: Annotated[
        float,
        Field(ge=0, le=100, description="decay of a hyperedge with distance; 0 joins everything"),
        Search(0.1, 4),
    ] = 0.9
    lambda_s: Annotated[
        float,
        Field(ge=0, le=1000, description="weight of the hypergraph network's cross-entropy"),
        Search(0.1, 10, log=True),
    ] = 1.0
    hgnn_hidden: Annotated[
        int, Field(ge=1, le=65536, description="width of the hypergraph network's hidden layers")
    ] = 512
    hgnn_layers: Annotated[
        int, Field(ge=1, le=16, description="weight matrices of the hypergraph network")
    ] = 2
    distance: Annotated[
        Literal["mahalanobis", "euclidean", "manhattan", "cosine"],
        Field(description="between a sample and a class; all but the first ignore log_vars"),
    ] = "mahalanobis"
    stable: Annotated[
        bool,
        Field(description="keep samples whose probability underflows, which the authors drop"),
    ] = False
    lr_ds: Annotated[
        float,
        Field(gt=0, le=100, description="learning rate of the class distributions"),
        Search(1e-3, 1, log=True),
    ] = 0.1
    lr_hgnn_factor: Annotated[
        float,
        Field(gt=0, le=10_000, description="factor on the learning rate, for the network"),
        Search(1, 100, log=True),
    ] = 10.0


def build_hist(params: HistParams, context: BuildContext) -> LossParts:
    """Build the objective and its two groups of parameters."""
    from harness_hist.objective import assemble  # torch loads here

    return assemble(params, context)


@hookimpl
def harness_losses() -> list[LossSpec]:
    """Return the loss of this plugin."""
    return [
        LossSpec(
            name="hist",
            summary="Class distributions and a hypergraph network over the batch",
            paper=PAPER,
            params=HistParams,
            build=build_hist,
            min_per_class=1,
            learnable=True,
        )
    ]


@hookimpl
def harness_recipes() -> list[RecipeSpec]:
    """Return the published settings of HIST."""
    return cards()


def build_replay(_: NoParams, __: None) -> Adapter:
    """Return what replays the golden cases of HIST."""
    from harness_hist.replays import HIST

    return HIST


@hookimpl
def harness_replays() -> list[ReplaySpec]:
    """Return how golden cases are replayed."""
    return [ReplaySpec(name="hist", summary="HIST and HIST-RE", build=build_replay)]
