"""A loss that ends a run in every way there is, and data small enough to run it often."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.api import (
    BackboneContext,
    BackboneSpec,
    BuildContext,
    DataContext,
    DatasetSpec,
    LossParts,
    LossSpec,
    NoParams,
    Params,
    Preprocessing,
    SampleTable,
    hookimpl,
)


class UnrulyParams(Params):
    """What happens in the third step of training; a number is as fine as `fine`."""

    how: Literal["fine", "one", "two", "three", "raise", "exit", "hang", "deaf", "nan", "eat"] = (
        "fine"
    )
    scale: Annotated[float, Field(gt=0, le=100, description="of the loss")] = 1.0


def build_loss(params: UnrulyParams, context: BuildContext) -> LossParts:
    """Build the loss; torch loads here."""
    from unruly_dml.parts import Unruly

    return LossParts(objective=Unruly(params.how, params.scale))


def build_backbone(params: NoParams, context: BackboneContext) -> object:
    """Build a single layer."""
    from unruly_dml.parts import Flat

    return Flat()


def build_table(params: NoParams, context: DataContext) -> SampleTable:
    """Draw the images."""
    from harness.testing.toys import toy_table

    return toy_table(num_classes=8, images_per_class=6, parts=["train"] * 4 + ["test"] * 4)


@hookimpl
def harness_losses() -> list[LossSpec]:
    """Register the loss."""
    return [
        LossSpec(
            name="unruly", summary="Ends as it is told to", params=UnrulyParams, build=build_loss
        )
    ]


@hookimpl
def harness_backbones() -> list[BackboneSpec]:
    """Register the backbone."""
    grey = Preprocessing(channels="gray", mean=(0.5,), std=(0.5,))
    return [
        BackboneSpec(
            name="unruly_flat",
            summary="One layer over 8x8 pixels",
            params=NoParams,
            build=build_backbone,
            preprocessing=grey,
            features=16,
            input_size=8,
        )
    ]


@hookimpl
def harness_datasets() -> list[DatasetSpec]:
    """Register the data."""
    return [
        DatasetSpec(
            name="unruly_toys", summary="48 toy images", params=NoParams, build=build_table
        )
    ]
