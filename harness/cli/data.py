"""`harness data`: data sets on this machine, and how they get here."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import click

from harness.cli.cache import cache
from harness.cli.options import command, group, with_settings
from harness.cli.output import columns, facts, json_line
from harness.cli.sheet import sample_data
from harness.errors import HarnessError, MissingDataError
from harness.settings import Settings, check_online

if TYPE_CHECKING:
    from harness.contracts import SampleTable
    from harness.data.verification import Verification
    from harness.registry import Entry, Registry
    from harness.specs import DatasetSpec, Params

MOST_SHOWN = 10

with_values = click.option(
    "--set",
    "values",
    multiple=True,
    metavar="NAME=VALUE",
    help="Parameter of the data set: path=birds, images=img_highres. Repeatable.",
)


@group()
def data() -> None:
    """List, fetch, verify, cache and show data sets."""


@command("list")
@with_settings("data")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per data set.")
def list_data(*, settings: Settings, as_json: bool) -> None:
    """List data sets, their official sizes, and whether they are here.

    One is here, partial (a fetch has begun), missing, wrong, or yours to be named by its path.
    """
    header = ("data set", "images", "classes", "state", "about")
    cards = [cast("DatasetSpec", one.card) for one in _registry(settings).entries("dataset")]
    rows = [(*_sizes(card), *_state(card, settings)) for card in cards]
    if as_json:
        for row in rows:
            json_line(dict(zip(("dataset", *header[1:]), row, strict=True)))
        return
    columns(header, [tuple("-" if cell is None else cell for cell in row) for row in rows])


@command("fetch")
@click.argument("name")
@with_settings("data")
@click.option("--keep", is_flag=True, help="Keep downloaded archives after unpacking them.")
def fetch_data(name: str, *, settings: Settings, keep: bool) -> None:
    """Download and unpack a data set, or unpack what you have put in place.

    A download that was cut goes on where it ended. `harness data verify` looks at the result.
    """
    from harness.cli.transfers import progress_line
    from harness.data.fetching import fetch, unfinished
    from harness.data.opening import open_table
    from harness.download import size_text

    check_online(settings, "harness data fetch")
    entry = _registry(settings).get("dataset", name)
    card = cast("DatasetSpec", entry.card)
    try:
        found = _found(card, settings.data)
    except HarnessError as error:
        if not unfinished(card, settings.data):
            raise _no_whole_copy(error) from error
        found = None  # what is wrong may be what has not come yet
    if found is not None:
        click.echo(f"{card.name} is here already: {_where(found)}")
        return
    with progress_line(size_text) as tell:
        folder = fetch(card, settings.data, progress=tell, keep=keep)
    try:
        open_table(card, card.params(), settings.data)
    except HarnessError as error:
        raise _no_whole_copy(error) from error
    click.echo(f"{card.name} is in {folder}; next: {_typed('verify', card, settings)}")


@command("verify")
@click.argument("name")
@with_settings("data")
@with_values
@click.option("--json", "as_json", is_flag=True, help="One JSON object, on stdout.")
def verify_data(name: str, *, settings: Settings, values: Sequence[str], as_json: bool) -> int:
    """Count, decode and hash every image of a data set, and print its digest.

    Equal digests mean equal copies; every run stores the digest of data and split. The exit code
    is 1 when something is wrong.
    """
    from harness.cli.transfers import progress_line
    from harness.data.verification import verify

    entry = _registry(settings).get("dataset", name)
    with progress_line(lambda count: f"{count:,}") as tell:
        found = verify(
            cast("DatasetSpec", entry.card), _params(entry, values), settings.data, progress=tell
        )
    if as_json:
        json_line(verification_record(name, found))
    else:
        _print_verification(name, found)
    return int(bool(found.problems))


@command("path")
@click.argument("name")
@with_settings("data")
@with_values
def path_data(name: str, *, settings: Settings, values: Sequence[str]) -> None:
    """Print the folder that holds the images of a data set."""
    from harness.contracts import DataContext

    entry = _registry(settings).get("dataset", name)
    card = cast("DatasetSpec", entry.card)
    table: SampleTable = card.build(_params(entry, values), DataContext(settings.data))
    if table.root is None and not card.files:
        raise HarnessError(f"data set {name!r} has no folder", hint=card.how_to_get)
    click.echo((table.root or settings.data / card.folder).absolute())


for one in (list_data, fetch_data, verify_data, path_data, cache, sample_data):
    data.add_command(one)


def verification_record(name: str, found: Verification) -> dict[str, object]:
    """Return what was found as JSON can hold it."""
    return {
        "dataset": name,
        "root": found.root,
        "manifest_digest": found.digest,
        "parts": [part._asdict() for part in found.parts],
        "official": [part._asdict() for part in found.official],
        "problems": found.problems,
    }


def _print_verification(name: str, found: Verification) -> None:
    columns(("part", "images", "classes"), found.parts)
    click.echo()
    facts(
        [
            ("data set", name),
            ("folder", found.root),
            ("digest", found.digest or "none: not all files can be read"),
        ]
    )
    problems = found.problems
    for problem in problems[:MOST_SHOWN]:
        click.echo(f"problem: {problem}")
    if len(problems) > MOST_SHOWN:
        click.echo(f"and {len(problems) - MOST_SHOWN:,} more; --json has them all")
    if not problems:
        official = ", as the official copy has them" if found.official else ""
        click.echo(f"all images can be read{official}")


def _registry(settings: Settings) -> Registry:
    from harness.registry import discover

    return discover(only=settings.load_plugins)


def _params(entry: Entry, values: Sequence[str]) -> Params:
    """Return the parameters of a data set, from `NAME=VALUE` texts."""
    from harness.documents import parse_value
    from harness.registry import params

    given: dict[str, Any] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals:
            raise HarnessError(f"--set {text!r} is not NAME=VALUE", hint="type --set path=birds")
        given[name] = parse_value(value, source=f"--set {name}")
    for name, field in entry.card.params.model_fields.items():
        if field.is_required() and name not in given:
            raise HarnessError(
                f"data set {entry.name!r} needs {name}: {field.description}",
                hint=f"add --set {name}=…",
            )
    return params(entry, given)


def _sizes(card: DatasetSpec) -> tuple[str, int | None, int | None]:
    return card.name, card.num_images, card.num_classes


class _State(NamedTuple):
    name: str
    about: str


def _state(card: DatasetSpec, settings: Settings) -> _State:
    """Return whether a data set is here, and where, or what to type."""
    from harness.data.fetching import unfinished

    root = settings.data
    if any(field.is_required() for field in card.params.model_fields.values()):
        return _State("yours", card.how_to_get)
    problem = ""
    try:
        if (found := _found(card, root)) is not None:
            return _State("here", _where(found))
    except HarnessError as error:
        problem = error.message
    fetch = _typed("fetch", card, settings) if card.files else card.how_to_get
    if lacks := unfinished(card, root):
        return _State("partial", f"{' and '.join(lacks)}; {fetch}")
    return _State("wrong", problem) if problem else _State("missing", fetch)


def _typed(verb: str, card: DatasetSpec, settings: Settings) -> str:
    """Return a command about a data set, with the folder if it was named by a flag."""
    named = settings.sources["data"] == "--data"
    where = f" --data {shlex.quote(str(settings.data))}" if named else ""
    return f"harness data {verb} {card.name}{where}"


def _found(card: DatasetSpec, root: Path) -> SampleTable | None:
    """Return the data set, None if it is missing.

    Raises:
        HarnessError: It is there, and something is wrong with it.
    """
    from harness.contracts import DataContext

    if any(field.is_required() for field in card.params.model_fields.values()):
        return None
    try:
        return card.build(card.params(), DataContext(root))
    except MissingDataError:
        return None


def _no_whole_copy(error: HarnessError) -> HarnessError:
    """Return the error with what to do about a copy that fetching again would leave as it is."""
    return HarnessError(error.message, hint="move that copy away, then type the same again")


def _where(table: SampleTable) -> str:
    return str(table.root or "in memory")
