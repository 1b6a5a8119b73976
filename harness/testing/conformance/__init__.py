"""Checks that every component should pass, for plugins of third parties too.

    report = check(card)
    assert not report.findings, report.findings

A check is a function whose name is the promise; it returns what is wrong, or None. What a
component cannot pass is declared on its card, with the reason: `expected_failures`. A declared
failure that passes is a finding as well, so that reasons do not outlive their cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from harness.specs import ComponentSpec, Kind, LossSpec, Params
from harness.testing.conformance.backbones import BACKBONE_CHECKS, BackboneTrial
from harness.testing.conformance.batches import LossTrial, MinerTrial, all_tuples
from harness.testing.conformance.cards import CARD_CHECKS
from harness.testing.conformance.files import (
    BACKEND_CHECKS,
    DATASET_CHECKS,
    RECIPE_CHECKS,
    REPLAY_CHECKS,
    DatasetTrial,
)
from harness.testing.conformance.losses import LOSS_CHECKS
from harness.testing.conformance.metrics import METRIC_CHECKS, MetricTrial
from harness.testing.conformance.miners import MINER_CHECKS, tuple_problem
from harness.testing.conformance.parallel import (
    gradients_survive_two_processes,
    parallel_problems,
)
from harness.testing.conformance.report import (
    Check,
    Finding,
    NotApplicableError,
    Outcome,
    Report,
    Subject,
    judged,
    run,
)
from harness.testing.conformance.samplers import SAMPLER_CHECKS, SamplerTrial

__all__ = [
    "CHECKS",
    "Finding",
    "NotApplicableError",
    "Outcome",
    "Report",
    "all_tuples",
    "check",
    "check_all",
    "tuple_problem",
]

_SUITES: Mapping[Kind, tuple[Sequence[Check], Callable[[Any, Any], object]]] = {
    "loss": (LOSS_CHECKS, LossTrial),
    "miner": (MINER_CHECKS, MinerTrial),
    "sampler": (SAMPLER_CHECKS, SamplerTrial),
    "backbone": (BACKBONE_CHECKS, BackboneTrial.of),
    "dataset": (DATASET_CHECKS, DatasetTrial),
    "metric": (METRIC_CHECKS, MetricTrial.of),
    "backend": (BACKEND_CHECKS, Subject),
    "recipe": (RECIPE_CHECKS, Subject),
    "replay": (REPLAY_CHECKS, Subject),
}

PARALLEL = gradients_survive_two_processes.__name__

CHECKS: Mapping[Kind, tuple[str, ...]] = {
    kind: tuple(
        each.__name__
        for each in (
            *CARD_CHECKS,
            *checks,
            *([gradients_survive_two_processes] if kind == "loss" else []),
        )
    )
    for kind, (checks, _) in _SUITES.items()
}
"""Names of the checks of each kind, in the order in which they run."""


def check(
    card: ComponentSpec,
    params: Params | None = None,
    *,
    expected_failures: Mapping[str, str] | None = None,
) -> Report:
    """Run every check on one component.

    Args:
        card: What the plugin registers.
        params: None takes the card's `check_params`, and defaults for the rest.
        expected_failures: Name of a check to the reason why this component cannot pass it; None
            takes those on the card.
    """
    if expected_failures is not None:
        card = replace(card, expected_failures=expected_failures)
    (report,) = check_all([card], params=params)
    return report


def check_all(
    cards: Iterable[ComponentSpec], *, params: Params | None = None
) -> tuple[Report, ...]:
    """Run every check on components; losses share the pair of processes that one check needs.

    Args:
        cards: What plugins register.
        params: Of each component; None takes its card's `check_params`.
    """
    cards = list(cards)
    reports = [_check_here(card, params) for card in cards]
    losses = [
        index
        for index, (card, report) in enumerate(zip(cards, reports, strict=True))
        if card.kind == "loss" and not _stopped(report)
    ]
    trials = [
        LossTrial(cast("LossSpec", cards[index]), params or _params(cards[index]))
        for index in losses
    ]
    problems = parallel_problems(trials) if trials else ()
    for index, problem in zip(losses, problems, strict=True):
        outcome = judged(PARALLEL, problem, cards[index].expected_failures)
        reports[index] = replace(reports[index], outcomes=(*reports[index].outcomes, outcome))
    return tuple(reports)


def _stopped(report: Report) -> bool:
    return any(outcome.check == "the_component_is_built" for outcome in report.outcomes)


def _params(card: ComponentSpec) -> Params:
    return card.params.model_validate(card.check_params)


def _check_here(card: ComponentSpec, params: Params | None) -> Report:
    """Run the checks that need one process."""
    expected = card.expected_failures
    unknown = sorted(set(expected) - set(CHECKS[card.kind]))
    outcomes = [Outcome(name, "failed", "no such check") for name in unknown]
    fields = card.params.model_fields.items()
    required = [n for n, f in fields if f.is_required() and n not in card.check_params]
    if required and params is None:
        reason = f"{', '.join(required)} must be given"
        outcomes += [Outcome(name, "skipped", reason) for name in CHECKS[card.kind]]
        return Report(card.kind, card.name, tuple(outcomes))
    values = params or _params(card)
    checks, make = _SUITES[card.kind]
    outcomes += run(CARD_CHECKS, Subject(card, values), expected)
    try:
        subject = make(card, values)
    except Exception as error:  # noqa: BLE001 - the plugin border: any error is the finding
        outcomes.append(
            Outcome("the_component_is_built", "failed", f"{type(error).__name__}: {error}")
        )
    else:
        outcomes += run(checks, subject, expected)
    return Report(card.kind, card.name, tuple(outcomes))
