"""The tutorial for authors of plugins, run as it stands."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

from harness.cli import main
from harness.registry.building import installed

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> Iterator[tuple[str, str]]:
    """Language and text of every fenced block, in order."""
    return iter(BLOCK.findall((ROOT / "docs" / "tutorial_plugin.md").read_text()))


def run_harness(words: list[str]) -> None:
    out = io.StringIO()
    installed.cache_clear()
    with redirect_stdout(out), redirect_stderr(out):
        code = main(words)
    assert code == 0, f"harness {shlex.join(words)}\n{out.getvalue()}"


def run_pytest(words: list[str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_step_of_the_tutorial_works(tmp_path, install_from):
    (tmp_path / "protocols").symlink_to(ROOT / "protocols")
    sources: dict[str, Path] = {}

    def install(words: list[str]) -> None:
        assert words[:2] == ["install", "-e"]
        sources[words[2]] = install_from(tmp_path / words[2])

    programs: dict[str, Callable[[list[str]], None]] = {
        "harness": run_harness,
        "pytest": run_pytest,
        "pip": install,
    }
    done = 0
    with chdir(tmp_path):
        for language, text in blocks():
            if language == "python":
                path = Path(text.partition("\n")[0].removeprefix("# "))
                assert path.is_file(), f"{path} is not in the package that was started"
                path.write_text(text)
                reinstall(path, sources)
                continue
            for line in text.splitlines():
                program, *words = shlex.split(line)
                programs[program](words)
                done += 1
    installed.cache_clear()

    assert done > 5


def reinstall(path: Path, sources: dict[str, Path]) -> None:
    """Bring an edit into the installed copy, which `pip install -e` would not need."""
    project, inside = path.parts[0], Path(*path.parts[1:])
    installed_file = sources[project] / inside
    if installed_file.exists():
        installed_file.write_text(path.read_text())
    for name in [name for name in sys.modules if name.startswith(project.replace("-", "_"))]:
        del sys.modules[name]
