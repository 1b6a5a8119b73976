"""What the documents say exists, exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from harness.cli.root import root
from harness.store.views import VIEW_DOCS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "plugins").glob("*/README.md"))
COMMAND = re.compile(r"(?:^|`)\s*(?:uv run )?(harness [a-z][^`\n]*)", re.MULTILINE)


def commands():
    """Every command line of the documents that begins with `harness` and a sub-command."""
    for page in PAGES:
        for line in COMMAND.findall(page.read_text()):
            if "…" not in line:
                yield pytest.param(line, id=f"{page.relative_to(ROOT)}: {line}")


@pytest.mark.parametrize("line", list(commands()))
def test_every_command_in_the_documents_has_a_name_and_options_that_exist(line):
    words = shlex.split(line, comments=True)[1:]
    command: click.Command = root
    context = click.Context(command)
    while isinstance(command, click.Group):
        assert words, f"{line}: a sub-command is missing"
        name = words.pop(0)
        command = command.get_command(context, name)
        assert command is not None, f"{line}: no command {name!r}"
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}

    used = {word.split("=")[0] for word in words if word.startswith("-")}

    assert used <= known, f"{line}: no option {sorted(used - known)}"


def test_the_page_about_results_names_every_view():
    page = (ROOT / "docs" / "results.md").read_text()

    table = {
        name
        for line in page.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([a-z_]+)`", line.split("|")[1])
    }

    assert table == set(VIEW_DOCS)


def test_every_page_of_the_docs_is_reachable_from_the_readme():
    readme = (ROOT / "README.md").read_text()

    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in readme


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_a_page_points_to_exists(page):
    paths = re.findall(
        r"`((?:harness|plugins|protocols|docs|tests|benchmarks)/[\w./-]+)`", page.read_text()
    )

    missing = [path for path in paths if not (ROOT / path).exists()]

    assert missing == []
