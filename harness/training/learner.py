"""What a run trains: modules, optimizers and the state that goes with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Generator, nn

from harness import protocol
from harness.contracts import LossParts, Miner
from harness.training.encoder import Encoder
from harness.training.optimizer import Optimizers, make_optimizers


@dataclass(slots=True)
class Counter:
    """Training steps a learner has taken, over all its epochs."""

    steps: int = 0


@dataclass(frozen=True, slots=True)
class Learner:
    """What training changes, and the rules it changes by.

    Attributes:
        encoder: Images to embeddings.
        objective: Loss at work.
        miner: Of the tuples; None without one.
        optimizers: Over the parameters of encoder and objective.
        scaler: Of the gradients for float16; does nothing otherwise.
        training: The protocol's settings.
        device: Where modules and batches are.
        generators: Those that loss and miner draw from; a checkpoint keeps their state.
        counter: Steps so far.
    """

    encoder: Encoder
    objective: nn.Module
    miner: Miner | None
    optimizers: Optimizers
    scaler: torch.amp.GradScaler
    training: protocol.Training
    device: torch.device
    generators: tuple[Generator, ...] = ()
    counter: Counter = field(default_factory=Counter)


def make_learner(
    encoder: Encoder,
    parts: LossParts,
    *,
    miner: Miner | None = None,
    training: protocol.Training,
    device: torch.device,
    generators: Sequence[Generator] = (),
) -> Learner:
    """Move encoder, objective and miner to their device and give them optimizers.

    Args:
        encoder: With the loss's own head, if it has one.
        parts: Of the loss.
        miner: Moved too if it is a module.
        training: The protocol's settings.
        device: Where training happens.
        generators: Those that were handed to loss and miner.

    Raises:
        HarnessError: As `make_optimizers`.
    """
    encoder.to(device)
    parts.objective.to(device)
    if isinstance(miner, nn.Module):
        miner.to(device)
    half = training.precision == "float16" and device.type == "cuda"
    return Learner(
        encoder=encoder,
        objective=parts.objective,
        miner=miner,
        optimizers=make_optimizers(encoder, parts, training),
        scaler=torch.amp.GradScaler(device.type, enabled=half),
        training=training,
        device=device,
        generators=tuple(generators),
    )
