"""The plugin folders, the root's tables and requirements.txt name the same distributions."""

from __future__ import annotations

import re
import subprocess
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from harness.native import FOLDER, library

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))


def distribution(folder: Path) -> str:
    return f"harness-{folder.name.replace('_', '-')}"


def read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


@pytest.fixture(scope="module")
def root() -> dict[str, Any]:
    return read(ROOT / "pyproject.toml")


def test_every_plugin_folder_is_in_the_group_that_uv_run_installs(root):
    names = {distribution(folder) for folder in FOLDERS}

    assert {re.split(r"[<>=~]", name)[0] for name in root["dependency-groups"]["plugins"]} == names
    assert "plugins" in root["tool"]["uv"]["default-groups"]


def can_compile(folder: Path) -> bool:
    (folder / "a.c").write_text(
        "#include <math.h>\n#include <stdlib.h>\nint one(void) {return 1;}"
    )
    command = ["cc", "-std=c11", "-fPIC", "-shared", "-o", "a.so", "a.c", "-lm"]
    with suppress(OSError):
        done = subprocess.run(command, check=False, cwd=folder, capture_output=True)
        return done.returncode == 0
    return False


def test_all_c_was_compiled_where_that_is_possible(tmp_path):
    if not can_compile(tmp_path):
        pytest.skip("no working C compiler")
    names = [source.stem for source in FOLDER.glob("*.c")]

    missing = [name for name in names if library(name) is None]

    assert names
    assert not missing, "see: uv sync --verbose --reinstall-package dml-harness"


def test_every_plugin_is_resolved_from_the_workspace(root):
    names = {distribution(folder) for folder in FOLDERS}

    sources = root["tool"]["uv"]["sources"]

    assert set(sources) == names | {"dml-harness"}
    assert all(source == {"workspace": True} for source in sources.values())


def test_every_plugin_is_under_the_import_contracts(root):
    modules = {f"harness_{folder.name}" for folder in FOLDERS}

    linter = root["tool"]["importlinter"]
    by_name = {contract["name"]: contract for contract in linter["contracts"]}

    assert set(linter["root_packages"]) == modules | {"harness"}
    assert set(by_name["Core never names a plugin"]["forbidden_modules"]) == modules
    assert set(by_name["Plugins never import one another"]["modules"]) == modules


def test_every_core_module_but_the_door_is_protected_from_plugins(root):
    packages = {path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")}
    modules = {path.stem for path in (ROOT / "harness").glob("*.py")} - {"__init__", "__main__"}
    open_to_plugins = {"api", "kit", "testing"}

    contracts = root["tool"]["importlinter"]["contracts"]
    protected = next(c for c in contracts if c["type"] == "protected")["protected_modules"]

    assert set(protected) == {f"harness.{name}" for name in (packages | modules) - open_to_plugins}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_plugin_is_word_for_word_what_a_third_party_writes(folder):
    project = read(folder / "pyproject.toml")

    assert project["project"]["name"] == distribution(folder)
    assert project["project"]["entry-points"]["harness"] == {folder.name: f"harness_{folder.name}"}
    assert "dml-harness" in project["project"]["dependencies"]
    assert "tool" not in project
    assert (folder / "README.md").stat().st_size > 500


def test_requirements_hold_every_editable_and_no_address_of_an_index():
    lines = (ROOT / "requirements.txt").read_text().splitlines()

    editables = {line for line in lines if line.startswith("-e")}

    assert editables == {"-e .", *(f"-e ./plugins/{folder.name}" for folder in FOLDERS)}
    assert not [line for line in lines if "://" in line or line.startswith("--")]
    pins = [line for line in lines if line and not line.startswith(("-e", "#"))]
    assert all("==" in line for line in pins)


def test_requirements_pin_every_direct_dependency():
    pinned = {
        re.split(r"==", line)[0].lower()
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if "==" in line
    }
    projects = [read(ROOT / "pyproject.toml"), *(read(f / "pyproject.toml") for f in FOLDERS)]
    direct = {
        re.split(r"[<>=~\[;]", name)[0].strip().lower()
        for project in projects
        for name in project["project"]["dependencies"]
    }

    assert direct - pinned == {"dml-harness"}
