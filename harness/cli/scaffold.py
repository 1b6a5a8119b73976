"""A package to start a plugin from: every file of it works before the first edit."""

from __future__ import annotations

import keyword
import re
import sys
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import NamedTuple

from harness.errors import HarnessError, did_you_mean


class Start(NamedTuple):
    """What differs between the kinds of components.

    Attributes:
        module: Where the component lives in its package.
        dependencies: What the package needs besides us.
        summary: First line of its description.
        run: The command that uses it.
    """

    module: str
    dependencies: tuple[str, ...]
    summary: str
    run: str


STARTS = {
    "loss": Start(
        "objective",
        ("torch>=2.4",),
        "The loss $name for the benchmark harness of deep metric learning.",
        "harness run omniglot --plugin $name",
    ),
    "miner": Start(
        "mining",
        ("torch>=2.4",),
        "The miner $name for the benchmark harness of deep metric learning.",
        "harness run omniglot --plugin loss:triplet_margin --plugin $name",
    ),
    "sampler": Start(
        "sampling",
        ("numpy>=1.26",),
        "The sampler $name for the benchmark harness of deep metric learning.",
        "harness run PROTOCOL --plugin LOSS --deviate sampler.name=$name",
    ),
}


def files(kind: str, name: str) -> dict[str, str]:
    """Return path and text of every file of a new package.

    Raises:
        HarnessError: There is no start for this kind, or the name cannot be a package of its own.
    """
    if kind not in STARTS:
        raise HarnessError(
            f"nothing to start a {kind!r} from",
            hint=did_you_mean(kind, STARTS) or f"one of {', '.join(STARTS)}",
        )
    _check_name(name)
    start = STARTS[kind]
    words = {"name": name, "kind": kind, "dist": name.replace("_", "-")}
    words["Class"] = "".join(part.capitalize() for part in name.split("_"))
    words["summary"] = Template(start.summary).substitute(words)
    words["run"] = f"    {Template(start.run).substitute(words)}"
    words["dependencies"] = ", ".join(f'"{one}"' for one in ("dml-harness", *start.dependencies))
    places = {
        "pyproject.toml": "common/pyproject.toml",
        "README.md": "common/README.md",
        ".gitignore": "common/gitignore",
        ".github/workflows/test.yml": "common/test.yml",
        f"{name}/__init__.py": f"{kind}/init.py",
        f"{name}/{start.module}.py": f"{kind}/{start.module}.py",
        f"tests/test_{name}.py": f"{kind}/test.py",
    }
    return {path: _filled(template, words) for path, template in places.items()}


def _filled(template: str, words: dict[str, str]) -> str:
    file = resources.files("harness.cli").joinpath("templates", *f"{template}.txt".split("/"))
    return Template(file.read_text(encoding="utf-8")).substitute(words)


def _check_name(name: str) -> None:
    """Refuse a name that is no component's, or that another package has."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", name) or keyword.iskeyword(name):
        raise HarnessError(
            f"{name!r} is no name for a component",
            hint="lower-case letters, digits and underscores, such as my_loss",
        )
    if name in sys.stdlib_module_names or find_spec(name) is not None:
        raise HarnessError(f"there is a package {name!r} already", hint="take another name")


def write(folder: Path, contents: dict[str, str]) -> list[Path]:
    """Write the files into a folder that does not exist yet, and return their paths.

    Raises:
        HarnessError: The folder exists, or cannot be written.
    """
    try:
        folder.mkdir(parents=True)
        written = [folder / path for path in contents]
        for path, text in zip(written, contents.values(), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except FileExistsError:
        raise HarnessError(f"{folder} exists", hint="name another folder with --dir") from None
    except OSError as error:
        raise HarnessError(f"cannot write {folder}: {error.strerror}") from error
    return written
