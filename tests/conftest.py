"""Third-party distributions, built from `tests/plugins` and installed without a network."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parent / "plugins"
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


@pytest.fixture(scope="session")
def wheel_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that builds the wheel of a folder of `tests/plugins`, once."""
    built: dict[str, Path] = {}

    def build(folder: str) -> Path:
        if folder not in built:
            place = tmp_path_factory.mktemp(folder)
            shutil.copytree(PLUGINS / folder, place / "source")
            subprocess.run(
                [sys.executable, "-c", BUILD, str(place)],
                cwd=place / "source",
                check=True,
                capture_output=True,
            )
            (built[folder],) = place.glob("*.whl")
        return built[folder]

    return build


@pytest.fixture
def install(
    wheel_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Return a function that installs plugins for one test, here and in its subprocesses."""

    def install_all(*folders: str) -> Path:
        site = tmp_path / "site-packages"
        for folder in folders:
            with zipfile.ZipFile(wheel_of(folder)) as wheel:
                wheel.extractall(site)
        monkeypatch.syspath_prepend(site)
        monkeypatch.setenv("PYTHONPATH", str(site))
        for module in [name for name in sys.modules if _is_inside(name, PLUGINS)]:
            monkeypatch.delitem(sys.modules, module)
        return site

    return install_all


def _is_inside(module: str, plugins: Path) -> bool:
    """Return whether a module was imported from an earlier test's installation."""
    packages = {package.name for folder in plugins.iterdir() for package in folder.glob("*")}
    return module.partition(".")[0] in packages
