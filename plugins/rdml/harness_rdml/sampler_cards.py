"""Cards of the samplers of Revisiting Training Strategies."""

from __future__ import annotations

from harness.api import SamplerSpec

SAMPLERS: tuple[SamplerSpec, ...] = ()
