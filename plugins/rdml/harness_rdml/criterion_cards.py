"""Cards of the criteria of Revisiting Training Strategies."""

from __future__ import annotations

from harness.api import LossSpec

CRITERIA: tuple[LossSpec, ...] = ()
