"""Cards of how golden cases are replayed, by the method the cases name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.api import NoParams, ReplaySpec

if TYPE_CHECKING:
    from harness.testing.golden import Adapter

METHODS = {
    "rdml.criterion": (
        "adversarial_separation",
        "angular",
        "arcface",
        "contrastive",
        "histogram",
        "lifted",
        "margin",
        "multisimilarity",
        "npair",
        "proxynca",
        "quadruplet",
        "snr",
        "softmax",
        "softtriplet",
        "triplet",
    ),
    "rdml.miner": (
        "distance",
        "intra_random",
        "lifted",
        "npair",
        "parametric",
        "random",
        "random_distance",
        "rho_distance",
        "semihard",
        "softhard",
    ),
    "rdml.sampler": (
        "class_random",
        "d2_coreset_selection",
        "disthist_cost",
        "fid_cost",
        "full_random",
        "greedy_coreset_selection",
    ),
}
"""Golden methods by what they are of; each is an adapter in `<what>_replays`."""


def _from_replays(kind: str, name: str) -> Callable[[NoParams, None], Adapter]:
    """Return the build of an adapter."""

    def build(_: NoParams, __: None) -> Adapter:
        from importlib import import_module

        module = import_module(f"harness_rdml.{kind.rpartition('.')[2]}_replays")
        return getattr(module, name)

    return build


REPLAYS = tuple(
    ReplaySpec(
        name=f"{kind}.{name}",
        summary=f"The {kind.rpartition('.')[2]} {name}",
        build=_from_replays(kind, name),
    )
    for kind, names in METHODS.items()
    for name in names
)
