"""Losses and miners of pytorch-metric-learning, each with typed parameters."""

from __future__ import annotations

from harness.api import LossSpec, MinerSpec, RecipeSpec, ReplaySpec, hookimpl


@hookimpl
def harness_losses() -> list[LossSpec]:
    """Return one card per loss class, and those of our own."""
    from harness_pml.embedding_losses import EMBEDDING_LOSSES
    from harness_pml.own_losses import OWN_LOSSES
    from harness_pml.weight_losses import WEIGHT_LOSSES

    classes = (*EMBEDDING_LOSSES, *WEIGHT_LOSSES)
    return [*(loss.card() for loss in classes), *OWN_LOSSES]


@hookimpl
def harness_miners() -> list[MinerSpec]:
    """Return one card per miner class."""
    from harness_pml.miners import MINERS

    return [miner.card() for miner in MINERS]


@hookimpl
def harness_recipes() -> list[RecipeSpec]:
    """Return published settings of the losses that are exactly an author's own."""
    from harness_pml.published import cards

    return cards()


@hookimpl
def harness_replays() -> list[ReplaySpec]:
    """Return how golden cases of our own losses are replayed."""
    from harness_pml.own_losses import REPLAYS

    return list(REPLAYS)
