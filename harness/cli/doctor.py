"""`harness doctor`: all that a person would be asked for when something does not work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from textwrap import indent
from typing import TYPE_CHECKING

import click

from harness.cli.options import command, with_settings
from harness.cli.output import facts, json_line
from harness.errors import HarnessError
from harness.settings import Settings

if TYPE_CHECKING:
    from harness.registry import Entry, Registry

# what an unset value means
UNSET = {
    "weights": "the cache",
    "load_plugins": "all",
    "workers": "0 on a CPU, up to 8 for a GPU",
    "cache": "`.cache` in the folder of the data sets",
}

Facts = Iterator[tuple[str, object]]


@command()
@with_settings("store", "data", "weights")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per section.")
def doctor(*, settings: Settings, as_json: bool) -> None:
    """Report environment, plugins, data and store."""
    from harness.registry import discover

    registry = discover(only=settings.load_plugins)
    for title, section in SECTIONS.items():
        said = dict(section(settings, registry))
        if as_json:
            json_line({"section": title, **said})
            continue
        click.echo(click.style(title, bold=True))
        facts(said.items(), indent=2)


def environment(_: Settings, __: Registry) -> Facts:
    """Yield versions and devices; this is what makes the command import torch."""
    from harness.provenance import collect

    found = collect()
    yield "harness", found.harness
    if found.git_commit:
        yield "commit", found.git_commit[:12] + " (changed)" * bool(found.git_dirty)
    yield "python", found.python
    yield "platform", found.platform
    yield "cpu", f"{os.cpu_count()} cores"
    yield from found.libraries
    try:
        import torch
    except Exception as error:  # noqa: BLE001 - a broken installation is what a doctor is for
        yield "device", f"torch cannot be imported: {error}"
        return
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    yield "device", ", ".join(names) if names else "cpu only, torch sees no GPU"
    yield "threads", torch.get_num_threads()
    yield "compiled loops", _compiled_loops()


def _compiled_loops() -> str:
    from harness.native import FOLDER, library

    names = sorted(source.stem for source in FOLDER.glob("*.c"))
    missing = [name for name in names if library(name) is None]
    if not missing:
        return ", ".join(names)
    reason = "no C compiler when harness was installed; slower, same numbers"
    return f"{', '.join(missing)} missing ({reason})"


def effective_settings(settings: Settings, _: Registry) -> Facts:
    """Yield every setting with where its value came from."""
    for name, source in settings.sources.items():
        value = getattr(settings, name)
        shown = ",".join(value) if isinstance(value, tuple) else value
        yield name, f"{UNSET[name] if shown is None else shown}  (from {source})"


def plugins(_: Settings, registry: Registry) -> Facts:
    """Yield every plugin; a broken one with its whole traceback."""
    for report in registry.plugins:
        state = report.error or f"{sum(report.counts.values())} components"
        trace = indent(f"\n{report.traceback.rstrip()}", " " * 6) if report.traceback else ""
        yield str(report.origin), f"{report.origin.version}  {state}{trace}"


def data_sets(settings: Settings, registry: Registry) -> Facts:
    """Yield every data set: how many images were found, or what is missing and where."""
    yield "looked in", settings.data.absolute()
    for entry in registry.entries("dataset"):
        yield entry.name, _data_set_state(entry, settings)


def _data_set_state(entry: Entry, settings: Settings) -> str:
    from harness.contracts import DataContext
    from harness.registry import params

    if any(field.is_required() for field in entry.card.params.model_fields.values()):
        return "-  (needs parameters)"
    try:
        table = entry.card.build(params(entry, {}), DataContext(root=settings.data))
    except HarnessError as error:
        return f"missing  {error.message}"
    except Exception as error:  # noqa: BLE001 - a plugin's defect must not end the report
        return f"broken  {type(error).__name__}: {error}"
    return f"found  {len(table):,} images"


def weight_files(settings: Settings, registry: Registry) -> Facts:
    """Yield every published weight file, and where it lies."""
    from harness.specs import BackboneSpec
    from harness.weights import default_folder, locate

    yield "looked in", (settings.weights or default_folder()).absolute()
    for entry in registry.entries("backbone"):
        assert isinstance(entry.card, BackboneSpec), entry.card
        for key, file in entry.card.weights.items():
            found = locate(file, settings.weights)
            yield f"{entry.name} {key}", f"found  {found}" if found else "missing"


def store(settings: Settings, _: Registry) -> Facts:
    """Yield what the run store holds and what is wrong with it."""
    yield "folder", settings.store.absolute()
    if not settings.store.exists():
        yield "state", "not there yet; the first run makes it"
        return
    from harness.store.maintenance import health
    from harness.store.writer import find_store

    try:
        yield from health(find_store(settings.store)).facts()
    except HarnessError as error:
        yield "state", error.message


SECTIONS: Mapping[str, Callable[[Settings, Registry], Facts]] = {
    "environment": environment,
    "settings": effective_settings,
    "plugins": plugins,
    "data sets": data_sets,
    "weights": weight_files,
    "store": store,
}
