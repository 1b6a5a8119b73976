"""Whether the parts of a run can work together; each check names what to type instead."""

from __future__ import annotations

from typing import cast

from harness.errors import HarnessError
from harness.plan.contracts import Chosen
from harness.protocol import Protocol
from harness.registry import Registry
from harness.specs import BackboneSpec, LossSpec, MinerSpec
from harness.weights import choose


def check_mining(loss: Chosen, miner: Chosen | None, registry: Registry) -> None:
    """Check that a loss gets the tuples it needs, and none that it would ignore.

    Raises:
        HarnessError: A miner is missing, useless, or of the wrong sort.
    """
    card = cast("LossSpec", loss.card)
    fitting = [
        entry.name
        for entry in registry.entries("miner")
        if cast("MinerSpec", entry.card).gives in card.takes
    ]
    advice = f"--plugin miner:NAME, one of {', '.join(fitting)}" if fitting else None
    if miner is None:
        if card.mining_required:
            raise HarnessError(
                f"loss {card.name} needs a miner of {' or '.join(card.takes)}", hint=advice
            )
        return
    gives = cast("MinerSpec", miner.card).gives
    if not card.takes:
        raise HarnessError(
            f"loss {card.name} uses no mined tuples, so miner {miner.card.name} has no effect",
            hint=f"leave --plugin {miner.card.name} out",
        )
    if gives not in card.takes:
        raise HarnessError(
            f"loss {card.name} takes {' or '.join(card.takes)}, "
            f"miner {miner.card.name} gives {gives}",
            hint=advice,
        )


def check_sampler(loss: Chosen, sampler: Chosen) -> None:
    """Check that batches hold as many images per class as the loss needs.

    Only a sampler with a parameter `m` promises a number.

    Raises:
        HarnessError: `m` is too small.
    """
    needed = cast("LossSpec", loss.card).min_per_class
    m = getattr(sampler.params, "m", None)
    if isinstance(m, int) and m < needed:
        raise HarnessError(
            f"loss {loss.card.name} needs {needed} images per class in a batch, "
            f"sampler {sampler.card.name} gives m={m}",
            hint=f"choose another loss, or a protocol whose sampler.m is at least {needed}",
        )


def check_encoder(protocol: Protocol, backbone: Chosen) -> None:
    """Check that the weights exist and that an identity head has the backbone's width.

    Raises:
        HarnessError: They do not.
    """
    card = cast("BackboneSpec", backbone.card)
    if protocol.head.kind == "identity" and protocol.head.dim != card.features:
        raise HarnessError(
            f"head.kind identity keeps the {card.features} features of {card.name}, "
            f"head.dim is {protocol.head.dim}",
            hint=f"head.dim: {card.features}, or head.kind: linear",
        )
    choose(protocol.backbone.weights, card.weights)
