"""Third-party distributions, built from `tests/plugins` and installed without a network."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parent / "plugins"
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


def build_wheel(source: Path, place: Path) -> Path:
    """Build the wheel of a folder into another one, without a network."""
    subprocess.run(
        [sys.executable, "-c", BUILD, str(place)], cwd=source, check=True, capture_output=True
    )
    (wheel,) = place.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def wheel_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that builds the wheel of a folder of `tests/plugins`, once."""
    built: dict[str, Path] = {}

    def build(folder: str) -> Path:
        if folder not in built:
            place = tmp_path_factory.mktemp(folder)
            shutil.copytree(PLUGINS / folder, place / "source")
            built[folder] = build_wheel(place / "source", place)
        return built[folder]

    return build


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages that holds for one test, here and in its subprocesses."""
    folder = tmp_path / "site-packages"
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    yield folder
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def install(wheel_of: Callable[[str], Path], site: Path) -> Callable[..., Path]:
    """Return a function that installs folders of `tests/plugins` for one test."""

    def install_all(*folders: str) -> Path:
        for folder in folders:
            unpack(wheel_of(folder), site)
        return site

    return install_all


@pytest.fixture
def install_from(site: Path, tmp_path: Path) -> Callable[[Path], Path]:
    """Return a function that installs a package from its source for one test, and says where."""

    def install_one(source: Path) -> Path:
        place = tmp_path / "wheels" / source.name
        place.mkdir(parents=True)
        unpack(build_wheel(source, place), site)
        return site

    return install_one


def unpack(wheel: Path, site: Path) -> None:
    """Install a wheel the way pip does for pure Python."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    importlib.invalidate_caches()
