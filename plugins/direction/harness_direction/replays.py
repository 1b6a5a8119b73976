"""How golden cases of the three losses, and of plain multi-similarity, are replayed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from harness.api import HarnessError
from harness.testing.golden import Case, LossAdapter, Numbers

NAMES = {"lambda": "base"}  # theirs to ours, where they differ


def _params(**fixed: float) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a translation of a case's parameters that adds fixed ones."""

    def translate(params: dict[str, Any]) -> dict[str, Any]:
        ours = {NAMES.get(name, name): value for name, value in params.items() if name != "loss"}
        # the network makes embeddings unit vectors, and some vectors show what happens without
        return {**ours, **fixed, "normalize_embeddings": False}

    return translate


ADAPTERS = {
    "dr_triplet": LossAdapter("dr_triplet", params=_params()),
    "dr_proxynca": LossAdapter("dr_proxy_nca", params=_params()),
    "dr_ms": LossAdapter("dr_ms", params=_params()),
    "ms": LossAdapter("dr_ms", params=_params(gamma=0.0)),
}


def replay_direction(case: Case, dtype: torch.dtype) -> Numbers:
    """Run a case of the loss that its parameters name."""
    loss = str(case.params.get("loss"))
    if loss not in ADAPTERS:
        raise HarnessError(f"no loss of this plugin replays {loss!r}")
    numbers = dict(ADAPTERS[loss](case, dtype))
    if "num_anchors_contributing" in numbers.get("components", {}):
        # theirs is detached where no anchor contributes; ours is connected, with zero gradient
        connected = bool(numbers["grad_embeddings"].any())
        numbers["components"] = numbers["components"] | {"loss_connected_to_embeddings": connected}
    return numbers
