"""What this machine has to divide among runs, and what a run takes of it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from harness.errors import HarnessError
from harness.settings import UNITS

PROC = Path("/proc")
SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def num_cpus() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpus(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the GPUs this process may use, as CUDA_VISIBLE_DEVICES names them.

    The driver's own list is read, because to ask CUDA would take memory on every GPU.
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(name.strip() for name in visible.split(",") if name.strip() not in {"", "-1"})
    folder = PROC / "driver" / "nvidia" / "gpus"
    return tuple(str(index) for index, _ in enumerate(folder.iterdir())) if folder.is_dir() else ()


def resident_bytes(pid: int) -> int:
    """Return the memory in use by a process and all below it; 0 when it has ended.

    What processes share counts in each.
    """
    try:
        pages = int((PROC / str(pid) / "statm").read_text().split()[1])
        children = [
            int(child)
            for task in (PROC / str(pid) / "task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGESIZE") + sum(map(resident_bytes, children))


def parse_duration(text: str) -> float:
    """Return seconds.

    >>> parse_duration("90"), parse_duration("1.5h")
    (90.0, 5400.0)

    Raises:
        HarnessError: The text is not a number with a unit of `SECONDS`.
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*)\s*([a-z]*)\s*", text.lower())
    if match is None or match[2] not in SECONDS or float(match[1]) == 0:
        raise HarnessError(f"{text!r} is no time", hint="type 90s, 10m, 6h or 2d")
    return float(match[1]) * SECONDS[match[2]]


def parse_bytes(text: str) -> int:
    """Return bytes.

    >>> parse_bytes("1.5GiB")
    1610612736

    Raises:
        HarnessError: The text is not a number with a unit.
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*)\s*([A-Z]*)\s*", text.upper())
    if match is None or match[2] not in UNITS or float(match[1]) * UNITS[match[2]] < 2**20:
        raise HarnessError(f"{text!r} is no amount of memory", hint="type 4GiB or 800MB")
    return int(float(match[1]) * UNITS[match[2]])
