"""The index of what can be extended: one hook per kind, each returning cards.

A plugin is an installed distribution with an entry point in the group `harness`; the module it
names implements any of these with `@hookimpl`.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from harness.specs import (
    BackboneSpec,
    BackendSpec,
    DatasetSpec,
    LossSpec,
    MetricSpec,
    MinerSpec,
    RecipeSpec,
    ReplaySpec,
    SamplerSpec,
)

GROUP = "harness"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def harness_losses() -> Iterable[LossSpec]:  # pyright: ignore[reportReturnType] - a specification
    """Return the losses of a plugin."""


@hookspec
def harness_miners() -> Iterable[MinerSpec]:  # pyright: ignore[reportReturnType]
    """Return the miners of a plugin."""


@hookspec
def harness_samplers() -> Iterable[SamplerSpec]:  # pyright: ignore[reportReturnType]
    """Return the batch samplers of a plugin."""


@hookspec
def harness_backbones() -> Iterable[BackboneSpec]:  # pyright: ignore[reportReturnType]
    """Return the backbones of a plugin."""


@hookspec
def harness_datasets() -> Iterable[DatasetSpec]:  # pyright: ignore[reportReturnType]
    """Return the data sets of a plugin."""


@hookspec
def harness_metrics() -> Iterable[MetricSpec]:  # pyright: ignore[reportReturnType]
    """Return the metrics of a plugin."""


@hookspec
def harness_backends() -> Iterable[BackendSpec]:  # pyright: ignore[reportReturnType]
    """Return the evaluation backends of a plugin."""


@hookspec
def harness_recipes() -> Iterable[RecipeSpec]:  # pyright: ignore[reportReturnType]
    """Return the recipes of a plugin."""


@hookspec
def harness_replays() -> Iterable[ReplaySpec]:  # pyright: ignore[reportReturnType]
    """Return how the golden cases of a plugin's methods are replayed."""
