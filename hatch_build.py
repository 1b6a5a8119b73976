"""Compiles `harness/data/resampling.c` while the package is built.

Where there is no C compiler the package is built without it and Pillow scales images instead:
training pipelines then load about half as fast, and not a pixel changes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("harness/data/resampling.c")
LIBRARY = Path("harness/data/libresampling.so")
# Weights must not be rounded otherwise where the processor could multiply and add at once.
FLAGS = ("-O3", "-std=c11", "-ffp-contract=off", "-fPIC", "-shared")


class CompiledResampling(BuildHookInterface[Any]):
    """Puts the library beside its source, and into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Compile; a wheel that holds the library is for this platform only."""
        root = Path(self.root)
        if not compiled(root / SOURCE, root / LIBRARY):
            return
        build_data["artifacts"].append(f"/{LIBRARY.as_posix()}")
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"


def compiled(source: Path, library: Path) -> bool:
    """Compile a library and return whether there is one now; a failure is only reported."""
    compiler = compiler_command()
    if compiler is None:
        report("no C compiler")
        return False
    temporary = library.with_suffix(f".{os.getpid()}.tmp")
    command = [*compiler, *FLAGS, "-o", str(temporary), str(source), "-lm"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        temporary.replace(library)  # processes that use the old one keep it
    except (OSError, subprocess.CalledProcessError) as error:
        temporary.unlink(missing_ok=True)
        report(getattr(error, "stderr", None) or str(error))
        return False
    return True


def compiler_command() -> list[str] | None:
    """Return the C compiler to call: `CC`, or the first that is installed."""
    if os.environ.get("CC"):
        return os.environ["CC"].split()
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    return [found] if found else None


def report(reason: str) -> None:
    """Say why there is no library; `pip install --verbose` shows it."""
    print(f"built without compiled resampling: {reason.strip()}", file=sys.stderr)  # noqa: T201
