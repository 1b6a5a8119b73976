"""Every registered component passes the checks that plugins of others are held to."""

from functools import cache

import pytest

from harness.registry import Entry, discover
from harness.testing.conformance import CHECKS, Report, check_all

REGISTRY = discover()


@cache
def reports(kind: str) -> dict[str, Report]:
    """Check all components of a kind at once: losses share the processes they need."""
    entries = REGISTRY.entries(kind)
    found = check_all(entry.card for entry in entries)
    return dict(zip([entry.qualified for entry in entries], found, strict=True))


@pytest.mark.parametrize("entry", REGISTRY.cards, ids=lambda e: f"{e.kind}-{e.qualified}")
@pytest.mark.filterwarnings("ignore:Values of Tp or Tn")
def test_component_conforms(entry: Entry):
    report = reports(entry.kind)[entry.qualified]

    assert not report.findings, "\n".join(map(str, report.findings))


@pytest.mark.parametrize("entry", REGISTRY.cards, ids=lambda e: f"{e.kind}-{e.qualified}")
def test_no_check_is_left_out_without_a_reason(entry: Entry):
    report = reports(entry.kind)[entry.qualified]

    assert tuple(outcome.check for outcome in report.outcomes) == CHECKS[entry.kind]
    assert all(o.note for o in report.outcomes if o.status in {"skipped", "expected"})
