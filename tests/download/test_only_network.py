"""One module asks the network for anything; what comes through it was asked for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import harness

ROOT = Path(harness.__file__).parents[1]
NETWORK = {"urllib.request", "http.client", "http.server", "socket", "ssl", "ftplib", "requests"}
OTHERS = ("load_state_dict_from_url", "pretrained=True", "hub.load", "hf_hub_download")
ALLOWED = {
    "harness/download/transfer.py",
    "harness/store/writer.py",  # this machine's own name, for the rows
    "harness/testing/site.py",  # a server, for tests
}


def sources() -> Iterator[tuple[str, str]]:
    for folder in ("harness", "plugins"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            if "tests" not in file.parts and ".venv" not in file.parts:
                yield file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")


def imported(text: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_only_the_downloader_imports_what_reaches_the_network():
    reaching = {name for name, text in sources() if imported(text) & NETWORK}

    assert reaching == ALLOWED


def test_nobody_asks_a_library_to_download():
    asking = {name for name, text in sources() if any(other in text for other in OTHERS)}

    assert asking == set()
