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
from contextlib import suppress
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
    """Compile a library and return whether it is there; a failure is only reported."""
    temporary = library.with_suffix(f".{os.getpid()}.tmp")
    try:
        command = [*compiler_command(), *FLAGS, "-o", str(temporary), str(source), "-lm"]
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        temporary.replace(library)  # processes that use the old one keep it
    except (OSError, subprocess.CalledProcessError) as error:
        for file in (temporary, library):  # the library is of an older source
            with suppress(OSError):  # also a folder that cannot be written is no reason to fail
                file.unlink(missing_ok=True)
        reason = getattr(error, "stderr", None) or str(error)
        # `pip install --verbose` and `uv sync --verbose` show it.
        print(f"built without {source.name}: {reason.strip()}", file=sys.stderr)  # noqa: T201
        return False
    return True


def compiler_command() -> list[str]:
    """Return the C compiler to call: `CC`, or the first that is installed.

    Raises:
        FileNotFoundError: There is none.
    """
    if os.environ.get("CC"):
        return os.environ["CC"].split()
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return [found]
    raise FileNotFoundError("no C compiler")
