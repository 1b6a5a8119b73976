"""Compiles the C files of `harness/native` while the package is built.

Where there is no C compiler the package is built without them: training images are scaled and
rankings are sifted more slowly, and no number changes.
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

SOURCES = Path("harness/native")
# Weights of pixels must not round otherwise where a processor could multiply and add at once.
FLAGS = ("-O3", "-std=c11", "-ffp-contract=off", "-fPIC", "-shared")


class CompiledLoops(BuildHookInterface[Any]):
    """Puts each library beside its source, and into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Compile; a wheel that holds a library is for this platform only."""
        for source in sorted((Path(self.root) / SOURCES).glob("*.c")):
            library = source.with_name(f"lib{source.stem}.so")
            if compiled(source, library):
                build_data["artifacts"].append(f"/{(SOURCES / library.name).as_posix()}")
                build_data["pure_python"] = False
        if not build_data["pure_python"]:
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"py3-none-{platform}"


def compiled(source: Path, library: Path) -> bool:
    """Compile a library and return whether there is one now; a failure is only reported."""
    compiler = compiler_command()
    if compiler is None:
        report(source, "no C compiler")
        return False
    temporary = library.with_suffix(f".{os.getpid()}.tmp")
    command = [*compiler, *FLAGS, "-o", str(temporary), str(source), "-lm"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        temporary.replace(library)  # processes that use the old one keep it
    except (OSError, subprocess.CalledProcessError) as error:
        temporary.unlink(missing_ok=True)
        library.unlink(missing_ok=True)  # of an older source
        report(source, getattr(error, "stderr", None) or str(error))
        return False
    return True


def compiler_command() -> list[str] | None:
    """Return the C compiler to call: `CC`, or the first that is installed."""
    if os.environ.get("CC"):
        return os.environ["CC"].split()
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    return [found] if found else None


def report(source: Path, reason: str) -> None:
    """Say why there is no library; `pip install --verbose` shows it."""
    print(f"built without {source.name}: {reason.strip()}", file=sys.stderr)  # noqa: T201
