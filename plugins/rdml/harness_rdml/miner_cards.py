"""Cards of the miners of Revisiting Training Strategies."""

from __future__ import annotations

from harness.api import MinerSpec

MINERS: tuple[MinerSpec, ...] = ()
