"""How a work list is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.study.machine import gpus

Existing = Literal["only-missing", "always", "never", "only-cache"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """How the runs of a work list are done; nothing here changes a result but `threads`.

    Attributes:
        jobs: Runs at a time; None takes one per GPU, or one.
        timeout: Seconds after which a run is ended and counts as failed; None is without end.
        max_memory: Bytes of main memory a run may use; None sets no limit.
        threads: Of each run; None divides the processors among the jobs.
        existing: As for a single plan.
        fail_fast: Start no other run after a failed one.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        load_plugins: As in the settings.
        backend: What ranks.
        cache: Folder and bytes of prepared pixels; None keeps none.
        run: Other fields of `ExecutionOptions`, by name.
    """

    jobs: int | None = None
    timeout: float | None = None
    max_memory: int | None = None
    threads: int | None = None
    existing: Existing = "only-missing"
    fail_fast: bool = False
    device: str = "auto"
    load_plugins: tuple[str, ...] | None = None
    backend: str = "torch"
    cache: tuple[Path, int] | None = None
    run: dict[str, Any] = field(default_factory=dict[str, Any])

    def slots(self) -> tuple[str | None, ...]:
        """Return the GPU of each slot; None where a run sees what its device says."""
        found = gpus() if self.device in {"auto", "cuda"} else ()
        jobs = self.jobs or len(found) or 1
        return tuple(found[slot % len(found)] if found else None for slot in range(jobs))
