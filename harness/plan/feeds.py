"""What a network would be fed with, before anybody says what trains it."""

from __future__ import annotations

from dataclasses import dataclass

from harness.plan.contracts import Chosen, Request
from harness.plan.making import choose, repeats
from harness.plan.method import resolve
from harness.protocol import Protocol
from harness.registry import Registry


@dataclass(frozen=True, slots=True)
class Feed:
    """The part of a run that decides its batches of images.

    Attributes:
        protocol: With the request's values in its open fields.
        dataset, sampler, backbone: The chosen components; a backbone's card says how it wants
            its pixels.
        fold, seed: Which repeat.
    """

    protocol: Protocol
    dataset: Chosen
    sampler: Chosen
    backbone: Chosen
    fold: int
    seed: int


def make_feed(protocol: Protocol, registry: Registry, request: Request | None = None) -> Feed:
    """Return the feed of the first run that a request asks for; a loss need not be named.

    Raises:
        HarnessError: As `make_plan` does.
    """
    request = request or Request()
    method = resolve(protocol, registry, request)
    chosen = choose(method.protocol, registry, ("dataset", "sampler", "backbone"))
    fold, seed = repeats(protocol, request)[0]
    return Feed(
        protocol=method.protocol,
        dataset=chosen["dataset"],
        sampler=chosen["sampler"],
        backbone=chosen["backbone"],
        fold=fold,
        seed=seed,
    )
