"""Cards of the ten miners of Revisiting Training Strategies; distances are Euclidean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from harness.api import BuildContext, Miner, MinerSpec, NoParams, Params, Search

PAPER = "arXiv:2002.08473"
DISTANCE_WEIGHTED = "arXiv:1706.07567"


class SemihardParams(Params):
    """Parameters of `rdml_semihard`."""

    margin: Annotated[
        float,
        Field(gt=0, le=4, description="how much farther than the positive a negative may be"),
        Search(0.05, 1),
    ] = 0.2
    squared: Annotated[
        bool,
        Field(
            description="compare squared distances, as the triplet loss does; the authors' code "
            "compares plain ones"
        ),
    ] = False


class DistanceParams(Params):
    """Parameters of the miners that draw negatives evenly over their distances."""

    lower_cutoff: Annotated[
        float,
        Field(ge=0.01, lt=2, description="nearer negatives count as if this far"),
        Search(0.1, 1),
    ] = 0.5
    upper_cutoff: Annotated[
        float | None,
        Field(
            gt=0,
            le=2,
            description="farther negatives are never drawn; null as published, where the "
            "option (1.4) is read and not applied",
        ),
    ] = None

    @model_validator(mode="after")
    def _check_order(self) -> DistanceParams:
        if self.upper_cutoff is not None and self.upper_cutoff <= self.lower_cutoff:
            raise ValueError(
                f"upper_cutoff {self.upper_cutoff} is not above lower_cutoff {self.lower_cutoff}"
            )
        return self


class RhoDistanceParams(DistanceParams):
    """Parameters of `rdml_rho_distance`."""

    cp: Annotated[
        float,
        Field(ge=0, le=1, description="probability that a triplet pushes the anchor's own class"),
        Search(0.05, 0.5),
    ] = 0.2


class ParametricParams(Params):
    """Parameters of `rdml_parametric`; the published parser has none, so the defaults are ours."""

    mode: Annotated[
        Literal["uniform", "hards", "semihards", "veryhards"],
        Field(
            description="bins with weight: all, those from nodes up to 0.5, from 0.3 to 0.7 (the "
            "authors' code stops in a debugger), up to 0.3"
        ),
    ] = "uniform"
    n_support: Annotated[
        int, Field(ge=2, le=10_000, description="nodes of the histogram, ends included")
    ] = 10
    support_lim: Annotated[
        tuple[float, float],
        Field(description="first and last node, in units of distance"),
    ] = (0.0, 2.0)

    @model_validator(mode="after")
    def _check_support(self) -> ParametricParams:
        low, high = self.support_lim
        if not 0 <= low < high:
            raise ValueError(f"support_lim: nodes rise from 0 or more, got {low} to {high}")
        return self


def _from_miners(name: str) -> Callable[[Params, BuildContext], Miner]:
    """Return the build of a class in `miners`; parameters become keywords."""

    def build(params: Params, context: BuildContext) -> Miner:
        from harness.kit.randomness import generator_of
        from harness_rdml import miners  # torch loads here

        return getattr(miners, name)(generator_of(context), **params.model_dump())

    return build


OWN_POSITIVE = dict.fromkeys(
    (
        "uneven_classes_give_valid_tuples_or_an_error",
        "singletons_give_valid_tuples_or_an_error",
    ),
    "as published: an anchor without a partner is its own positive",
)


def _on_purpose(reason: str, *checks: str) -> dict[str, str]:
    """Return the declaration that a miner selects what others call invalid."""
    return dict.fromkeys(("tuples_are_valid", *checks), reason)


def _triplets(
    name: str,
    class_name: str,
    summary: str,
    params: type[Params] = NoParams,
    paper: str = PAPER,
    **facts: Any,  # noqa: ANN401 - fields of the card
) -> MinerSpec:
    return MinerSpec(
        name=f"rdml_{name}",
        summary=summary,
        paper=paper,
        params=params,
        build=_from_miners(class_name),
        gives="triplets",
        **facts,
    )


def _pairs(name: str, class_name: str, summary: str, paper: str) -> MinerSpec:
    return MinerSpec(
        name=f"rdml_{name}",
        summary=summary,
        paper=paper,
        build=_from_miners(class_name),
        gives="pairs",
    )


MINERS = (
    _triplets("random", "RandomMiner", "As many of all triplets as the batch has images"),
    _triplets(
        "semihard",
        "SemihardMiner",
        "A random positive and a negative a little farther away",
        SemihardParams,
        "arXiv:1503.03832",
    ),
    _triplets(
        "softhard", "SofthardMiner", "A positive and a negative that violate the order of classes"
    ),
    _triplets(
        "distance",
        "DistanceMiner",
        "A random positive and a negative drawn evenly over its distance",
        DistanceParams,
        DISTANCE_WEIGHTED,
        expected_failures=OWN_POSITIVE,
    ),
    _triplets(
        "rho_distance",
        "RhoDistanceMiner",
        "As rdml_distance, but at times an image of the anchor's class is pushed away",
        RhoDistanceParams,
        expected_failures=_on_purpose(
            "at times the anchor is its own positive and its class is pushed away",
            "uneven_classes_give_valid_tuples_or_an_error",
            "one_class_gives_valid_tuples_or_an_error",
        ),
    ),
    _triplets(
        "parametric",
        "ParametricMiner",
        "A random positive and a negative drawn by the weight of its distance's bin",
        ParametricParams,
        "arXiv:2003.11113",
    ),
    _triplets(
        "random_distance",
        "RandomDistanceMiner",
        "rdml_distance after a permutation of the labels",
        DistanceParams,
        expected_failures=_on_purpose(
            "labels are permuted on purpose", "uneven_classes_give_valid_tuples_or_an_error"
        ),
    ),
    _triplets(
        "intra_random",
        "IntraRandomMiner",
        "Three random images of one random class",
        expected_failures=_on_purpose(
            "negatives are of the anchor's class on purpose",
            "uneven_classes_give_valid_tuples_or_an_error",
            "one_class_gives_valid_tuples_or_an_error",
            "singletons_give_valid_tuples_or_an_error",
        ),
    ),
    _pairs(
        "npair",
        "NPairMiner",
        "A random positive and all negatives of each anchor",
        "https://papers.nips.cc/paper/6200-improved-deep-metric-learning-with-multi-class-n-pair-loss-objective",
    ),
    _pairs(
        "lifted",
        "LiftedMiner",
        "All positives and all negatives of each anchor",
        "arXiv:1511.06452",
    ),
)
