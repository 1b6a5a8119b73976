"""Work lists on the command line: from a study or from options, and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.durations import duration
from harness.cli.output import columns, json_line
from harness.errors import HarnessError
from harness.settings import Settings

if TYPE_CHECKING:
    from harness.plan import Request
    from harness.registry import Registry
    from harness.study import Cell
    from harness.study.state import State
    from harness.study.work import Work

MOST_REASON = 60


def cells_from(protocol: str, request: Request, registry: Registry) -> tuple[Cell, ...]:
    """Return the work list of a command line: each loss it names begins a method."""
    from harness.protocol import load
    from harness.study.cells import method_cells, methods_from, refuse_doubles

    written = load(protocol)
    methods = methods_from(request.plugins, registry)
    if len(methods) == 1:
        return tuple(method_cells("", written, request, registry))
    lists = [
        method_cells("+".join(plugins), written, replace(request, plugins=plugins), registry)
        for plugins in methods
    ]
    cells = tuple(cell for turn in zip(*lists, strict=True) for cell in turn)
    refuse_doubles(cells)
    return cells


def write_study(path: Path, protocol: str, request: Request, registry: Registry) -> None:
    """Write the study that a command line describes.

    Raises:
        HarnessError: The file exists, or its name is none for a study.
    """
    from harness.study.cells import study_from
    from harness.study.document import dump

    if path.exists():
        raise HarnessError(f"{path} exists", hint="name another file, or remove it")
    text = dump(study_from(path.stem, protocol, request, registry))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    click.echo(f"wrote {path}; harness study run {path}", err=True)


def read_work(file: str, registry: Registry, *, smoke: bool) -> Work:
    """Return what a study file comes to."""
    from harness.study import load
    from harness.study.document import locate, protocols_of
    from harness.study.work import work_of

    study = load(file)
    protocols = protocols_of(study, locate(Path(file)).parent)
    return work_of(study, registry, protocols, smoke=smoke)


def print_cells(cells: Sequence[Cell], settings: Settings, *, as_json: bool) -> int:
    """Print one line per run: what it is, what the store knows of it, and how long it takes."""
    from harness.study.state import find, states_of

    states = states_of(cells, find(settings.store))
    if as_json:
        for cell, state in zip(cells, states, strict=True):
            json_line(_record(cell, state))
        return 0
    rows = [
        (
            cell.run.key,
            cell.run.method,
            cell.run.fold,
            cell.run.seed,
            _word(state),
            "" if state.seconds is None else duration(state.seconds),
            cell.protocol.name,
            _short(state.reason),
        )
        for cell, state in zip(cells, states, strict=True)
    ]
    header = ("run", "method", "fold", "seed", "state", "takes about", "protocol", "reason")
    columns(*_without_empty(header, rows))
    left = [state.seconds for state in states if state.known != "finished"]
    known = [seconds for seconds in left if seconds is not None]
    about = f", about {duration(sum(known) / len(known) * len(left))} one by one" if known else ""
    click.echo(f"{len(rows)} runs, {len(left)} to do{about}; store {settings.store}", err=True)
    return 0


def _record(cell: Cell, state: State) -> dict[str, object]:
    return {
        "protocol": cell.protocol.name,
        "protocol_digest": cell.run.protocol_digest,
        "run": cell.run.key,
        "pair": cell.run.pair_key,
        "method": cell.run.method,
        "fold": cell.run.fold,
        "seed": cell.run.seed,
        "state": _word(state),
        "reason": state.reason,
        "expected_seconds": state.seconds,
    }


def _without_empty(
    header: Sequence[str], rows: Sequence[Sequence[object]]
) -> tuple[list[str], list[list[object]]]:
    """Leave out what no run has, and the protocol when there is one."""
    shown = [
        index
        for index, name in enumerate(header)
        if len({row[index] for row in rows} | {""}) > (2 if name == "protocol" else 1)
    ]
    return [header[index] for index in shown], [[row[i] for i in shown] for row in rows]


def _word(state: State) -> str:
    return "to do" if state.known == "missing" else state.known


def _short(reason: str) -> str:
    line = " ".join(reason.split())
    return line if len(line) <= MOST_REASON else f"{line[: MOST_REASON - 1]}…"
