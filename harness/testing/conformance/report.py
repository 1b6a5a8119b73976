"""What a check found, and how checks are run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.errors import HarnessError
from harness.specs import ComponentSpec, Params

Status = Literal["passed", "failed", "expected", "skipped"]

Check = Callable[[Any], str | None]
"""Looks at one component in one way; returns what is wrong, or None. Its name is the promise."""


class NotApplicableError(Exception):
    """A check says nothing about this component; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one check went.

    Attributes:
        check: Its name.
        status: `expected` is a failure that the card declares.
        note: The problem, or the reason of a declared failure or of a skip.
    """

    check: str
    status: Status
    note: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A check that a component did not pass."""

    component: str
    check: str
    problem: str

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.component}: {self.check}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Report:
    """How every check of one component went, in the order in which they ran."""

    kind: str
    name: str
    outcomes: tuple[Outcome, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The checks that failed without being declared to, or passed though declared to fail."""
        return tuple(
            Finding(f"{self.kind} {self.name}", outcome.check, outcome.note)
            for outcome in self.outcomes
            if outcome.status == "failed"
        )

    def count(self, status: Status) -> int:
        """Return how many checks ended so."""
        return sum(outcome.status == status for outcome in self.outcomes)


@dataclass(frozen=True, slots=True)
class Subject:
    """A component under test: its card, and the parameters to build it with."""

    card: ComponentSpec
    params: Params

    def build(self, context: object) -> Any:  # noqa: ANN401 - each kind builds something else
        """Return what the card builds."""
        return self.card.build(self.params, context)


@dataclass(frozen=True, slots=True)
class Suite:
    """The checks of one kind of component.

    Attributes:
        checks: In the order in which they run.
        subject: Makes what the checks are given.
    """

    checks: Sequence[Check]
    subject: Callable[[Any, Any], Any] = field(default=Subject)


def run(checks: Sequence[Check], subject: object, expected: Mapping[str, str]) -> list[Outcome]:
    """Run checks on one component; `expected` holds the reason of each declared failure."""
    return [judged(check.__name__, _called(check, subject), expected) for check in checks]


def judged(name: str, result: str | Outcome | None, expected: Mapping[str, str]) -> Outcome:
    """Return the outcome of a check, its problem held against what the card declares."""
    if isinstance(result, Outcome):
        return result
    if name not in expected:
        return Outcome(name, "failed", result) if result else Outcome(name, "passed")
    if result:
        return Outcome(name, "expected", expected[name])
    return Outcome(name, "failed", f"passes, yet is declared to fail: {expected[name]}")


def _called(check: Check, subject: object) -> str | Outcome | None:
    try:
        return check(subject)
    except NotApplicableError as reason:
        return Outcome(check.__name__, "skipped", str(reason))
    except Exception as error:  # noqa: BLE001 - the plugin border: any error is the finding
        return f"{type(error).__name__}: {' '.join(str(error).split())}"


def unless_refused(check: Check, subject: object) -> str | None:
    """Return what is wrong; a HarnessError, a refusal in words, is not."""
    try:
        return check(subject)
    except HarnessError:
        return None
