"""Protocol x method x folds x seeds -> the runs to do; pure, and without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.protocol import Protocol
    from harness.registry import Origin
    from harness.specs import ComponentSpec, Params


@dataclass(frozen=True, slots=True)
class Chosen:
    """A component picked for a run.

    Attributes:
        card: What the plugin registered.
        origin: Which distribution it came from.
        params: Resolved and checked.
    """

    card: ComponentSpec
    origin: Origin
    params: Params


@dataclass(frozen=True, slots=True)
class Run:
    """One training and evaluation, fully determined.

    Attributes:
        key: Hash of everything that determines the result.
        protocol: With the method's values in its open fields.
        protocol_digest: Of the protocol as written, before the method's values.
        method: Label of what is compared: component names and every value that is not a default.
        loss, miner, sampler, backbone, dataset: The chosen components; miner may be None.
        metrics: By the name that the protocol gives them (`recall_at_10`).
        fold, seed: Which repeat.
        deviations: Dotted paths that break the protocol, with their values, sorted.
        smoke: A rehearsal: tiny budget, never on a leaderboard.
        settings: The user's own `--set` and recipe values, dotted path to value, sorted.
    """

    key: str
    protocol: Protocol
    protocol_digest: str
    method: str
    loss: Chosen
    miner: Chosen | None
    sampler: Chosen
    backbone: Chosen
    dataset: Chosen
    metrics: tuple[tuple[str, Chosen], ...]
    fold: int
    seed: int
    deviations: tuple[str, ...] = ()
    smoke: bool = False
    settings: tuple[tuple[str, str], ...] = ()
