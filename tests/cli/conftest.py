import io
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.cli import main

ROOT = Path(__file__).parents[2]
Harness = Callable[..., "Ended"]


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def command_line(folder: Path) -> Harness:
    """Return a function that runs a command line inside a folder that has our protocols."""
    (folder / "protocols").symlink_to(ROOT / "protocols")

    def run(*words: object) -> Ended:
        out, err = io.StringIO(), io.StringIO()
        with chdir(folder), redirect_stdout(out), redirect_stderr(err):
            code = main([str(word) for word in words])
        return Ended(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    """Run a command line in a folder that holds nothing but our protocols."""
    return command_line(tmp_path)


class Rehearsed(NamedTuple):
    harness: Harness
    folder: Path
    ended: Ended


@pytest.fixture(scope="session")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Rehearsed:
    """A store with one rehearsal of digits in it, how its command ended, and the way to ask on."""
    folder = tmp_path_factory.mktemp("rehearsed")
    harness = command_line(folder)
    return Rehearsed(
        harness, folder, harness("run", "digits", "--plugin", "contrastive", "--smoke")
    )
