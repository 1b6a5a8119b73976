"""What a third party writes: cards here, torch only where something is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from harness.api import (
    BackboneContext,
    BackboneSpec,
    BuildContext,
    LossParts,
    LossSpec,
    Miner,
    MinerSpec,
    NoParams,
    Params,
    Preprocessing,
    Sampler,
    SamplerContext,
    SamplerSpec,
    Search,
    hookimpl,
)

if TYPE_CHECKING:
    from torch import nn


class TripletParams(Params):
    """Parameters of the loss."""

    margin: Annotated[
        float, Field(gt=0, le=2, description="cosine margin"), Search(0.05, 0.5, log=True)
    ] = 0.2


class PairsParams(Params):
    """Parameters of the sampler."""

    m: Annotated[int, Field(ge=2, le=64, description="images per class")] = 4


class PatchesParams(Params):
    """Parameters of the backbone."""

    side: Annotated[int, Field(ge=2, le=16, description="patches per side")] = 8


def build_triplet(params: TripletParams, context: BuildContext) -> LossParts:
    """Build the loss; torch loads here."""
    from acme_dml.parts import CosineTriplet

    return LossParts(objective=CosineTriplet(params.margin))


def build_miner(params: NoParams, context: BuildContext) -> Miner:
    """Build the miner."""
    from acme_dml.parts import every_triplet

    return every_triplet


def build_sampler(params: PairsParams, context: SamplerContext) -> Sampler:
    """Build the sampler."""
    from acme_dml.parts import ClassBlocks

    return ClassBlocks(params.m, context)


def build_backbone(params: PatchesParams, context: BackboneContext) -> nn.Module:
    """Build the backbone."""
    from acme_dml.parts import Patches

    return Patches(params.side)


@hookimpl
def harness_losses() -> list[LossSpec]:
    """Return the loss."""
    return [
        LossSpec(
            name="acme_triplet",
            summary="Triplet margin on cosine similarity",
            paper="arXiv:1503.03832",
            params=TripletParams,
            build=build_triplet,
            takes=("triplets",),
            mining_required=True,
            min_per_class=2,
        )
    ]


@hookimpl
def harness_miners() -> list[MinerSpec]:
    """Return the miner."""
    return [MinerSpec(name="acme_every", summary="Every triplet of a batch", build=build_miner)]


@hookimpl
def harness_samplers() -> list[SamplerSpec]:
    """Return the sampler."""
    return [
        SamplerSpec(
            name="acme_blocks",
            summary="m images of each class of a batch",
            params=PairsParams,
            build=build_sampler,
        )
    ]


@hookimpl
def harness_backbones() -> list[BackboneSpec]:
    """Return the backbone."""
    return [
        BackboneSpec(
            name="acme_patches",
            summary="One hidden layer on mean brightness of patches; for 28 to 32 px images",
            params=PatchesParams,
            build=build_backbone,
            features=64,
            input_size=32,
            preprocessing=Preprocessing(channels="gray", mean=(0.5,), std=(0.5,)),
        )
    ]
