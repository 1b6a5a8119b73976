"""Protocol x method x folds x seeds -> the runs to do; pure, and without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any, cast

from harness.errors import HarnessError
from harness.plan.assignments import show
from harness.plan.contracts import Chosen, Request, Run
from harness.plan.fit import check_encoder, check_mining, check_sampler
from harness.plan.identity import key_of, label, method_content
from harness.plan.method import resolve
from harness.protocol import Protocol, digest, with_values
from harness.registry import Registry, params
from harness.specs import Kind, MetricSpec


def make_plan(
    protocol: Protocol, registry: Registry, request: Request | None = None
) -> tuple[Run, ...]:
    """Return the runs that a request asks for, seed by seed, each with all its folds.

    Every name, parameter and combination is checked here; what is returned can be built.

    Raises:
        HarnessError: Something is unknown, out of range, fixed by the protocol, or does not fit.
    """
    request = request or Request()
    method = resolve(protocol, registry, request)
    chosen = _choose(method.protocol, registry)
    name = request.tuning.label if request.tuning else label(method, chosen, registry)
    if request.smoke:
        method = replace(method, protocol=_rehearsal(method.protocol))
    _check(method.protocol, chosen, registry)
    metrics = _metrics(method.protocol, registry)
    facts = method_content(method, chosen, metrics=dict(metrics), smoke=request.smoke)
    first = Run(
        key="",
        protocol=method.protocol,
        written=protocol,
        protocol_digest=digest(protocol),
        method=name,
        loss=chosen["loss"],
        miner=chosen.get("miner"),
        sampler=chosen["sampler"],
        backbone=chosen["backbone"],
        dataset=chosen["dataset"],
        metrics=metrics,
        diagnostics=_diagnostics(method.protocol, registry),
        fold=0,
        seed=0,
        deviations=tuple(sorted(f"{p}={show(v)}" for p, v in method.deviations.items())),
        smoke=request.smoke,
        settings=tuple(sorted((p, show(v)) for p, v in method.settings.items())),
        recipe=method.recipe,
        method_key=key_of(facts),
        tuning=request.tuning,
    )
    return tuple(
        _repeat(first, facts, fold=fold, seed=seed) for fold, seed in repeats(protocol, request)
    )


def repeats(protocol: Protocol, request: Request) -> tuple[tuple[int, int], ...]:
    """Return (fold, seed) of each run that a request asks for, seed by seed.

    Raises:
        HarnessError: A fold or seed does not exist, or there are none.
    """
    folds = _folds(protocol, request)
    return tuple((fold, seed) for seed in _seeds(protocol, request) for fold in folds)


def _repeat(run: Run, facts: dict[str, Any], *, fold: int, seed: int) -> Run:
    pair = {"protocol": run.protocol_digest, "fold": fold, "seed": seed}
    extras: dict[str, Any] = {}
    if run.diagnostics:
        extras["diagnostics"] = [name for name, _ in run.diagnostics]
    if run.tuning:
        extras["tuning"] = asdict(run.tuning)
    return replace(
        run,
        key=key_of({**facts, **extras, "fold": fold, "seed": seed}),
        pair_key=key_of(pair),
        fold=fold,
        seed=seed,
    )


def _choose(protocol: Protocol, registry: Registry) -> dict[Kind, Chosen]:
    """Look up every component that the protocol now names, loss and miner first."""
    if protocol.loss is None:
        losses = len(registry.entries("loss"))
        raise HarnessError(
            f"no loss: protocol {protocol.name} leaves it open and none is named",
            hint=f"--plugin NAME; harness show loss lists {losses}"
            if losses
            else "no plugin with a loss installed",
        )
    return choose(protocol, registry, ("loss", "miner", "sampler", "backbone", "dataset"))


def choose(protocol: Protocol, registry: Registry, kinds: Iterable[Kind]) -> dict[Kind, Chosen]:
    """Look up the components of these kinds that the protocol names.

    Raises:
        HarnessError: A name is unknown, or a parameter is out of range.
    """
    chosen: dict[Kind, Chosen] = {}
    for kind in kinds:
        component = getattr(protocol, kind)
        if component is not None:
            entry = registry.get(kind, component.name)
            chosen[kind] = Chosen(entry.card, entry.origin, params(entry, component.params))
    return chosen


def _check(protocol: Protocol, chosen: Mapping[Kind, Chosen], registry: Registry) -> None:
    check_mining(chosen["loss"], chosen.get("miner"), registry)
    check_sampler(chosen["loss"], chosen["sampler"])
    check_encoder(protocol, chosen["backbone"])


def _metrics(protocol: Protocol, registry: Registry) -> tuple[tuple[str, Chosen], ...]:
    """Return the reported metrics, and after them the one that selects if it is another."""
    names = list(protocol.evaluation.metrics)
    if protocol.selection.rule == "best_val" and protocol.selection.metric not in names:
        names.append(protocol.selection.metric)
    return tuple((name, _metric(name, registry)) for name in names)


def _diagnostics(protocol: Protocol, registry: Registry) -> tuple[tuple[str, Chosen], ...]:
    """Return the metrics to measure during training.

    Raises:
        HarnessError: One of them looks at neighbours, which nobody computes for a training part.
    """
    found = [(name, _metric(name, registry)) for name in protocol.evaluation.diagnostics]
    for name, chosen in found:
        if cast("MetricSpec", chosen.card).needs_ranking:
            fitting = [
                entry.name
                for entry in registry.entries("metric")
                if not cast("MetricSpec", entry.card).needs_ranking
            ]
            raise HarnessError(
                f"evaluation.diagnostics: {name} needs a ranking",
                hint=f"name it in evaluation.metrics; diagnostics are {', '.join(fitting)}",
            )
    return tuple(found)


def _metric(name: str, registry: Registry) -> Chosen:
    entry, resolved = registry.metric(name)
    return Chosen(entry.card, entry.origin, resolved)


def _rehearsal(protocol: Protocol) -> Protocol:
    """Cut the budget to a few steps with random weights: does everything run?"""
    training = protocol.training
    return with_values(
        protocol,
        {
            "training.epochs": min(training.epochs, 1),
            "training.iterations_per_epoch": min(training.iterations_per_epoch or 2, 2),
            "training.warmup.epochs": min(training.warmup.epochs, 1),
            "backbone.weights": "none",
        },
    )


def _folds(protocol: Protocol, request: Request) -> tuple[int, ...]:
    planned = protocol.split.fold_indices
    if request.folds is None:
        return planned[:1] if request.smoke else planned
    last = max(1, protocol.split.folds) - 1
    for fold in request.folds:
        if not 0 <= fold <= last:
            raise HarnessError(
                f"fold {fold}: protocol {protocol.name} has folds 0 to {last}",
                hint="--folds all runs those of the protocol",
            )
    return _distinct(request.folds, "fold")


def _seeds(protocol: Protocol, request: Request) -> tuple[int, ...]:
    if request.seeds is None:
        return protocol.seeds[:1] if request.smoke else protocol.seeds
    for seed in request.seeds:
        if seed < 0:
            raise HarnessError(f"seed {seed} is negative", hint="seeds count from 0")
    return _distinct(request.seeds, "seed")


def _distinct(values: tuple[int, ...], what: str) -> tuple[int, ...]:
    if not values:
        raise HarnessError(f"no {what} to run", hint=f"name at least one, --{what}s 0")
    for value in values:
        if values.count(value) > 1:
            raise HarnessError(f"{what} {value} is given twice", hint=f"name each {what} once")
    return values
