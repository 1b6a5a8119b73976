"""RDML, the criteria, miners and samplers of Revisiting Training Strategies.

Cards stand in `criterion_cards`, `miner_cards`, `sampler_cards` and `replay_cards`; none of them
imports torch.
"""

from __future__ import annotations

from harness.api import LossSpec, MinerSpec, RecipeSpec, ReplaySpec, SamplerSpec, hookimpl


@hookimpl
def harness_losses() -> list[LossSpec]:
    """Return the criteria."""
    from harness_rdml.criterion_cards import CRITERIA

    return list(CRITERIA)


@hookimpl
def harness_miners() -> list[MinerSpec]:
    """Return the miners."""
    from harness_rdml.miner_cards import MINERS

    return list(MINERS)


@hookimpl
def harness_samplers() -> list[SamplerSpec]:
    """Return the batch samplers."""
    from harness_rdml.sampler_cards import SAMPLERS

    return list(SAMPLERS)


@hookimpl
def harness_replays() -> list[ReplaySpec]:
    """Return how golden cases are replayed."""
    from harness_rdml.replay_cards import REPLAYS

    return list(REPLAYS)


@hookimpl
def harness_recipes() -> list[RecipeSpec]:
    """Return the published runs."""
    from harness_rdml.published import cards

    return cards()
