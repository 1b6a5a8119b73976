"""Miners: which pairs or triplets of a batch a loss sees."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from harness.api import Search
from harness_pml.cards import (
    GLOBAL_STREAM,
    ComparedParams,
    PmlMiner,
    PmlParams,
)

Strategy = Literal["hard", "semihard", "easy", "all"]


class MultiSimilarityMinerParams(ComparedParams):
    """The miner of the multi-similarity loss."""

    epsilon: Annotated[
        float, Field(ge=-2, le=2, description="slack on the hardest partner"), Search(0, 1)
    ] = 0.1


class TripletMarginMinerParams(ComparedParams):
    """Triplets by how they violate a margin."""

    margin: Annotated[
        float, Field(ge=-10, le=10, description="of a violation"), Search(-0.2, 2)
    ] = 0.2
    type_of_triplets: Annotated[
        Literal["all", "hard", "semihard", "easy"],
        Field(description="which violations count; easy ones have none"),
    ] = "all"


class BatchEasyHardMinerParams(ComparedParams):
    """One positive and one negative per anchor."""

    pos_strategy: Annotated[Strategy, Field(description="which positive")] = "easy"
    neg_strategy: Annotated[Strategy, Field(description="which negative")] = "semihard"
    allowed_pos_range: Annotated[
        tuple[float, float] | None, Field(description="distances a positive may have")
    ] = None
    allowed_neg_range: Annotated[
        tuple[float, float] | None, Field(description="distances a negative may have")
    ] = None

    @model_validator(mode="after")
    def _check_strategies(self) -> Self:
        both = {self.pos_strategy, self.neg_strategy}
        if both in ({"semihard"}, {"semihard", "all"}):
            raise ValueError(
                "pos_strategy and neg_strategy: semihard is relative to a hard or easy partner"
            )
        return self


class PairMarginMinerParams(ComparedParams):
    """Pairs that violate a margin."""

    pos_margin: Annotated[
        float, Field(ge=-10, le=10, description="positives farther than this"), Search(-0.2, 2)
    ] = 0.2
    neg_margin: Annotated[
        float, Field(ge=-10, le=10, description="negatives nearer than this"), Search(-0.2, 2)
    ] = 0.8


class DistanceWeightedMinerParams(PmlParams):
    """Negatives drawn evenly over their distances."""

    cutoff: Annotated[
        float,
        Field(gt=0, lt=2, description="nearer negatives count as if this far"),
        Search(0.1, 1),
    ] = 0.5
    nonzero_loss_cutoff: Annotated[
        float, Field(gt=0, le=2, description="negatives farther than this are never drawn")
    ] = 1.4


class AngularMinerParams(PmlParams):
    """Triplets by the angle at the negative."""

    angle: Annotated[
        float, Field(ge=0, lt=90, description="smallest angle, in degrees"), Search(5, 60)
    ] = 20.0


class HdcMinerParams(ComparedParams):
    """The hardest part of all pairs."""

    filter_percentage: Annotated[
        float, Field(gt=0, le=1, description="fraction that is kept"), Search(0.05, 1)
    ] = 0.5


class UniformHistogramMinerParams(ComparedParams):
    """Pairs drawn evenly over their distances."""

    num_bins: Annotated[int, Field(ge=1, le=10_000, description="bins of distance")] = 100
    pos_per_bin: Annotated[int, Field(ge=1, le=10_000, description="positives drawn per bin")] = 10
    neg_per_bin: Annotated[int, Field(ge=1, le=10_000, description="negatives drawn per bin")] = 10


MINERS = (
    PmlMiner(
        name="multi_similarity",
        class_name="MultiSimilarityMiner",
        params=MultiSimilarityMinerParams,
        summary="Pairs harder than the hardest of the other kind, with some slack",
        gives="pairs",
        paper="arXiv:1904.06627",
    ),
    PmlMiner(
        name="triplet_margin",
        class_name="TripletMarginMiner",
        params=TripletMarginMinerParams,
        summary="Triplets that violate a margin: all, hard, semihard or easy",
        gives="triplets",
        paper="arXiv:1503.03832",
    ),
    PmlMiner(
        name="batch_hard",
        class_name="BatchHardMiner",
        params=ComparedParams,
        summary="The farthest positive and the nearest negative of each anchor",
        gives="triplets",
        paper="arXiv:1703.07737",
    ),
    PmlMiner(
        name="batch_easy_hard",
        class_name="BatchEasyHardMiner",
        params=BatchEasyHardMinerParams,
        summary="One positive and one negative of each anchor, by hardness",
        gives="pairs",
        paper="arXiv:1904.04370",
    ),
    PmlMiner(
        name="pair_margin",
        class_name="PairMarginMiner",
        params=PairMarginMinerParams,
        summary="Pairs on the wrong side of a margin",
        gives="pairs",
    ),
    PmlMiner(
        name="distance_weighted",
        class_name="DistanceWeightedMiner",
        params=DistanceWeightedMinerParams,
        summary="Negatives drawn evenly over their distances",
        gives="triplets",
        paper="arXiv:1706.07567",
        expected_failures=GLOBAL_STREAM,
    ),
    PmlMiner(
        name="angular",
        class_name="AngularMiner",
        params=AngularMinerParams,
        summary="Triplets with a large angle at the negative",
        gives="triplets",
        paper="arXiv:1708.01682",
    ),
    PmlMiner(
        name="hdc",
        class_name="HDCMiner",
        params=HdcMinerParams,
        summary="The hardest part of all pairs",
        gives="pairs",
        paper="arXiv:1611.05720",
    ),
    PmlMiner(
        name="uniform_histogram",
        class_name="UniformHistogramMiner",
        params=UniformHistogramMinerParams,
        summary="Pairs drawn evenly over their distances",
        gives="pairs",
        expected_failures=GLOBAL_STREAM,
    ),
)
