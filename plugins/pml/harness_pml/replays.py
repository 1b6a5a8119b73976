"""How golden cases of Proxy-Anchor are replayed."""

from __future__ import annotations

from typing import Any

from harness.testing.golden import LossAdapter

NAMES = {"delta": "margin", "proxy_lr_factor": "lr_scale"}  # theirs to ours


def _params(params: dict[str, Any]) -> dict[str, Any]:
    return {NAMES.get(name, name): value for name, value in params.items()}


PROXY_ANCHOR = LossAdapter("proxy_anchor", params=_params, optimizer_params=("proxy_lr_factor",))
