"""How golden cases of HIST and of the HIST-RE extensions are replayed."""

from __future__ import annotations

from typing import Any

from harness.testing.golden import LossAdapter


def _params(params: dict[str, Any]) -> dict[str, Any]:
    params.pop("re", None)  # marks vectors of the reproduction study; the parameters say the rest
    return params


HIST = LossAdapter("hist", params=_params, optimizer_params=("lr_ds", "lr_hgnn_factor"))
