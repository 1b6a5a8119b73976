from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.cli import main

ROOT = Path(__file__).parents[2]


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def harness(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Ended]:
    """Run a command line in a folder that holds nothing but our protocols."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "protocols").symlink_to(ROOT / "protocols")

    def run(*words: object) -> Ended:
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return Ended(code, out, err)

    return run
