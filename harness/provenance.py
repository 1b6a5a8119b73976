"""Where a number comes from: versions, machine, source revision."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# What can change a result, besides the plugins (which a run names itself).
LIBRARIES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "pillow",
    "scipy",
    "scikit-learn",
    "pretrainedmodels",
    "pytorch-metric-learning",
)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Facts that are the same for every run of one process.

    Attributes:
        host: Network name of the machine.
        platform: Operating system and processor.
        python: Version of the interpreter.
        harness: Version of the core.
        libraries: (name, version) of each installed library in `LIBRARIES`, in that order.
        git_commit: Of the checkout the core runs from; None when it runs from a wheel.
        git_dirty: Whether tracked files of that checkout were changed; None without one.
    """

    host: str
    platform: str
    python: str
    harness: str
    libraries: tuple[tuple[str, str], ...]
    git_commit: str | None
    git_dirty: bool | None


def collect() -> Provenance:
    """Read the facts once; about 20 ms, most of it git."""
    commit, dirty = _git_state(Path(__file__).resolve().parent)
    return Provenance(
        host=platform.node(),
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        harness=importlib.metadata.version("dml-harness"),
        libraries=tuple(installed(LIBRARIES)),
        git_commit=commit,
        git_dirty=dirty,
    )


def installed(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return (name, version) of each of these distributions that is installed."""
    found: list[tuple[str, str]] = []
    for name in names:
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _git_state(folder: Path) -> tuple[str | None, bool | None]:
    """Return (commit, dirty) of the checkout that tracks this folder, or (None, None).

    A wheel installed below somebody else's checkout must not report that checkout's commit, so
    the folder itself has to be tracked.
    """
    tracked = _git(folder, "ls-files", "--error-unmatch", "provenance.py")
    commit = _git(folder, "rev-parse", "HEAD") if tracked else None
    if not commit:
        return None, None
    status = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return commit, None if status is None else bool(status)


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints, or None when it is not installed or refuses."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(  # noqa: S603 - fixed program, our own arguments
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - the user's git
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
