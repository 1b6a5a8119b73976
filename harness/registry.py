"""Entry points -> a frozen registry of cards."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a component comes from.

    Attributes:
        distribution: Installed distribution (`harness-hist`).
        version: Of that distribution.
        entry_point: Name of the entry point (`hist`).
        module: What the entry point imports.
    """

    distribution: str
    version: str
    entry_point: str
    module: str
