"""`harness plugin`: what authors of plugins type."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import command, group, with_settings
from harness.cli.output import columns, json_line
from harness.cli.plugins import plugins
from harness.settings import Settings
from harness.specs import SPEC_OF_KIND

if TYPE_CHECKING:
    from harness.registry import Entry, Registry
    from harness.testing.conformance import Report
    from harness.testing.conformance.report import Status
    from harness.testing.golden import Tally


@group()
def plugin() -> None:
    """List, check, replay and start plugins."""


plugin.add_command(plugins, "list")


@command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object per method and dtype.")
def replay(path: Path, *, as_json: bool) -> int:
    """Replay the golden cases of a file, or of every *.json in a folder.

    Every case runs in float64 and in float32. The exit code is 1 when a number differs.
    """
    from harness.testing.golden import read_cases, tally

    counts = tally(read_cases(path))
    if as_json:
        for count in counts:
            json_line(replay_record(count))
    else:
        print_tally(counts)
    return int(any(count.mismatches for count in counts))


plugin.add_command(replay)


@command()
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Check every installed component.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per component.")
@with_settings()
def check(name: str | None, *, settings: Settings, everything: bool, as_json: bool) -> int:
    """Check that a component keeps its promises.

    NAME is a component (hist, miner:distance_weighted), or an entry point or a distribution, which
    checks all that it registers. The exit code is 1 when there is a finding.
    """
    if (name is None) != everything:
        raise click.UsageError("name a component or a plugin, or pass --all")
    from harness.registry import discover
    from harness.testing.conformance import check_all

    entries = meant(discover(only=settings.load_plugins), name)
    reports = check_all(entry.card for entry in entries)
    if as_json:
        for entry, report in zip(entries, reports, strict=True):
            json_line(check_record(entry, report))
    else:
        print_reports(reports)
    return int(any(report.findings for report in reports))


plugin.add_command(check)


def meant(registry: Registry, name: str | None) -> tuple[Entry, ...]:
    """Return the components that a name stands for; None stands for all.

    Raises:
        HarnessError: It stands for none, or for components of several distributions.
    """
    if name is None:
        return registry.cards
    owned = tuple(
        e for e in registry.cards if name in {e.origin.entry_point, e.origin.distribution}
    )
    if owned:
        return owned
    found = registry.matching(name, list(SPEC_OF_KIND))
    if len({entry.origin for entry in found}) == 1:
        return tuple(found)
    return (registry.find(name, list(SPEC_OF_KIND)),)  # which says what is wrong


def check_record(entry: Entry, report: Report) -> dict[str, object]:
    """Return how the checks of one component went as JSON can hold it."""
    return {
        "kind": report.kind,
        "name": report.name,
        "distribution": entry.origin.distribution,
        "passed": report.count("passed"),
        "failed": report.count("failed"),
        "expected": report.count("expected"),
        "skipped": report.count("skipped"),
        "checks": [dataclasses.asdict(outcome) for outcome in report.outcomes],
    }


def print_reports(reports: Sequence[Report]) -> None:
    """Print one line per component, then every finding and why anything else did not pass."""
    statuses: tuple[Status, ...] = ("passed", "failed", "expected", "skipped")
    rows = [(r.kind, r.name, *(r.count(status) for status in statuses)) for r in reports]
    sums = [sum(report.count(status) for report in reports) for status in statuses]
    columns(("kind", "name", *statuses), [*rows, ("total", len(reports), *sums)])
    for report in reports:
        for outcome in report.outcomes:
            if outcome.status == "expected":
                click.echo(
                    f"expected: {report.kind} {report.name}: {outcome.check}: {outcome.note}"
                )
    for (check_name, reason), names in skipped(reports).items():
        click.echo(f"skipped: {check_name}: {reason}: {', '.join(names)}")
    for report in reports:
        for finding in report.findings:
            click.echo(f"finding: {finding}")


def skipped(reports: Iterable[Report]) -> dict[tuple[str, str], list[str]]:
    """Return the components that a check was left out of, by check and reason."""
    names: dict[tuple[str, str], list[str]] = {}
    for report in reports:
        for outcome in report.outcomes:
            if outcome.status == "skipped":
                names.setdefault((outcome.check, outcome.note), []).append(report.name)
    return names


@command()
@click.argument("kind", metavar="KIND")
@click.argument("name", metavar="NAME")
@click.option(
    "--dir",
    "parent",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Folder to put the package's own folder into  [.]",
)
def new(kind: str, name: str, *, parent: Path) -> None:
    """Start a package with a loss, a miner or a sampler that works.

    KIND is loss, miner or sampler; NAME is that of the component, such as my_loss.
    """
    from harness.cli.scaffold import files, write

    folder = parent / name.replace("_", "-")
    for path in write(folder, files(kind, name)):
        click.echo(path)
    click.echo()
    click.echo(f"pip install -e {folder}")
    click.echo(f"harness plugin check {name}")


plugin.add_command(new)


def replay_record(count: Tally) -> dict[str, object]:
    """Return how one method went in one dtype as JSON can hold it."""
    return {
        "method": count.method,
        "dtype": count.dtype,
        "replayed": count.replayed,
        "passed": count.passed,
        "mismatches": [{"place": m.place, "problem": m.problem} for m in count.mismatches],
    }


def print_tally(counts: tuple[Tally, ...]) -> None:
    """Print one line per method and dtype, the sums, and every mismatch."""
    rows: list[tuple[object, ...]] = [(c.method, c.dtype, c.replayed, c.passed) for c in counts]
    for dtype in dict.fromkeys(count.dtype for count in counts):
        same = [count for count in counts if count.dtype == dtype]
        replayed, passed = (sum(c.replayed for c in same), sum(c.passed for c in same))
        rows.append(("total", dtype, replayed, passed))
    columns(("method", "dtype", "replayed", "passed"), rows)
    for count in counts:
        for mismatch in count.mismatches:
            click.echo(f"mismatch in {count.method}, {count.dtype}: {mismatch}")
