"""A method that is tuned before it is run: its trials one after the other, then its final runs.

What comes next is a function of the rows in the store, read anew each time a trial has ended. So
a study that is killed anywhere goes on where it stopped, and any number of processes agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from harness.documents import canonical_json
from harness.errors import HarnessError
from harness.plan import Request, Run, Tuning
from harness.plan.assignments import parse_assignments, short_path, show
from harness.plan.identity import key_of
from harness.plan.making import repeats
from harness.protocol import Protocol
from harness.registry import Registry
from harness.search import Dimension, Trial, best, space_of, starts
from harness.search.asking import ask, num_trials
from harness.search.history import read_trials
from harness.seeding import derive_seed
from harness.specs import MetricSpec
from harness.study.cells import Cell, method_cells
from harness.study.document import Method, SearchRule, Study, refuse_overlap

if TYPE_CHECKING:
    from harness.store.writer import Store

SMOKE_TRIALS = 2


@dataclass(frozen=True, slots=True)
class Tuned:
    """One method under one protocol, and the search for its values.

    Attributes:
        search: Id: hash of the method, the protocol, the space and how it is searched. The number
            of trials is no part of it, so a search can be prolonged.
        method: What the study calls it.
        protocol: As its file has it.
        request: With the values that the method starts with, for the final runs.
        rule: How to search.
        space: Where, by short path.
        start: The values there that the method starts with.
        metric: What is compared on the validation part.
        higher_is_better: Which way.
        trials: How many.
        folds, seeds: Repeats of each trial.
        finals: How many final runs there are.
    """

    search: str
    method: str
    protocol: Protocol
    request: Request
    rule: SearchRule
    space: Mapping[str, Dimension]
    start: Mapping[str, Any]
    metric: str
    higher_is_better: bool
    trials: int
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    finals: int

    @property
    def repeats(self) -> frozenset[tuple[int, int]]:
        """Fold and seed of each run of a trial."""
        return frozenset((fold, seed) for fold in self.folds for seed in self.seeds)

    @property
    def num_cells(self) -> int:
        """Runs of all trials, and final runs."""
        return self.trials * len(self.repeats) + self.finals

    @property
    def label(self) -> str:
        """Name of the final runs' method."""
        return Tuning(self.search, self.method, self.metric).label

    def trial(self, number: int, values: Mapping[str, Any], registry: Registry) -> list[Cell]:
        """Return the runs of a trial.

        Raises:
            HarnessError: These values do not fit each other.
        """
        tuning = Tuning(self.search, self.method, self.metric, trial=number)
        request = self._with(values if number else {}, tuning)
        request = replace(request, folds=self.folds, seeds=self.seeds)
        return method_cells(self.method, self.protocol, request, registry)

    def final(self, winner: Trial | None, registry: Registry) -> list[Cell]:
        """Return the final runs with the values of a trial, or those of the start."""
        tuning = Tuning(self.search, self.method, self.metric, num_trials=self.trials)
        values = winner.values if winner and winner.number else {}
        return method_cells(self.method, self.protocol, self._with(values, tuning), registry)

    def ask(self, trials: Sequence[Trial]) -> dict[str, Any]:
        """Return the values of the trial after these."""
        names = (self.protocol.name, self.method, len(trials))
        return ask(
            self.space,
            trials,
            asked=self.rule.trials,
            sampler=self.rule.sampler,
            seed=derive_seed(self.rule.seed, "search", *names),
            higher_is_better=self.higher_is_better,
        )

    def _with(self, values: Mapping[str, Any], tuning: Tuning) -> Request:
        return replace(_with_values(self.request, values), tuning=tuning)


@dataclass(frozen=True, slots=True)
class Step:
    """Where a search is.

    Attributes:
        trials: Those that have ended, or could not be planned.
        cells: What is to be done next: runs of a trial that have not ended, or the final runs.
        over: The trials are done.
        best: The trial whose values are kept, so far.
    """

    trials: tuple[Trial, ...]
    cells: tuple[Cell, ...]
    over: bool
    best: Trial | None


def next_step(
    tuned: Tuned, registry: Registry, store: Store | None, *, may_ask: bool = True
) -> Step:
    """Return what the rows say comes next.

    Args:
        tuned: What is searched.
        registry: Of plugins.
        store: To read; None where there is none yet.
        may_ask: Choose the values of a trial that nobody has begun; otherwise its runs are left
            out, and nothing but the first needs the library that chooses.
    """
    known = read_trials(store, tuned.search, space=tuned.space, repeats=tuned.repeats)
    trials: list[Trial] = []

    def step(cells: Sequence[Cell], *, over: bool = False) -> Step:
        winner = best(trials, higher_is_better=tuned.higher_is_better)
        return Step(tuple(trials), tuple(cells), over, winner)

    for number in range(tuned.trials):
        trial = known.get(number)
        if trial is None and number and not may_ask:
            return step(())
        values = tuned.start if number == 0 else trial.values if trial else tuned.ask(trials)
        ended = trial.ended if trial else frozenset[tuple[int, int]]()
        if ended != tuned.repeats:
            try:
                cells = tuned.trial(number, values, registry)
            except HarnessError:  # each value is in range, but these do not go together
                trials.append(Trial(number, values, None, frozenset()))
                continue
            return step([c for c in cells if (c.run.fold, c.run.seed) not in ended])
        assert trial is not None, "a trial that has ended has rows"
        trials.append(replace(trial, values=values))
    winner = best(trials, higher_is_better=tuned.higher_is_better)
    return step(tuned.final(winner, registry), over=True)


def tuned_of(
    study: Study, method: Method, protocol: Protocol, registry: Registry, *, smoke: bool
) -> Tuned | None:
    """Return the search for a method's values under a protocol; None with nothing to search.

    Raises:
        HarnessError: The protocol has no validation part, a seed of the search is one of the
            final runs too, or a value of the space is refused by its card.
    """
    rule = study.search
    assert rule is not None, "only a study with a search is tuned"
    request = study.request(method, smoke=smoke)
    first = method_cells(method.name, protocol, request, registry)[0].run
    who = f"method {method.name}: "
    space = space_of(first, method.space, held=method.params)
    if not space:
        return None
    trial = replace(request, folds=rule.folds, seeds=rule.seeds)
    _refuse(protocol, first, request, rule)
    _check_space(who, space, protocol, trial, registry)
    pairs = repeats(protocol, trial)
    asked = min(rule.trials, SMOKE_TRIALS) if smoke and rule.sampler != "grid" else rule.trials
    card = cast("MetricSpec", first.measured[protocol.selection.metric].card)
    return Tuned(
        search=_identity(method, first, space, rule, pairs),
        method=method.name,
        protocol=protocol,
        request=request,
        rule=rule,
        space=space,
        start=starts(first, space),
        metric=protocol.selection.metric,
        higher_is_better=card.higher_is_better,
        trials=num_trials(space, asked=asked, sampler=rule.sampler),
        folds=tuple(dict.fromkeys(fold for fold, _ in pairs)),
        seeds=tuple(dict.fromkeys(seed for _, seed in pairs)),
        finals=len(repeats(protocol, request)),
    )


def _refuse(protocol: Protocol, first: Run, request: Request, rule: SearchRule) -> None:
    """Check that a search has something to compare, and leaves fresh seeds.

    Raises:
        HarnessError: It has not.
    """
    if first.protocol.selection.rule != "best_val":
        raise HarnessError(
            f"protocol {protocol.name} selects nothing on a validation part, and a search that "
            "looked at test images would flatter every method",
            hint="search under a protocol with selection.rule best_val",
        )
    try:
        refuse_overlap(rule.seeds, {seed for _, seed in repeats(protocol, request)})
    except ValueError as error:
        raise HarnessError(str(error), hint="give the search other seeds, such as 1000") from error


def _check_space(
    who: str,
    space: Mapping[str, Dimension],
    protocol: Protocol,
    request: Request,
    registry: Registry,
) -> None:
    """Plan a run with each end of each interval.

    Raises:
        HarnessError: A path is fixed by the protocol, or a value is out of its card's range.
    """
    for path, dimension in space.items():
        for value in dimension.extremes():
            tried = _with_values(request, {path: value})
            try:
                method_cells("", protocol, tried, registry)
            except HarnessError as error:
                where = f"{who}space {path}={show(value)}: "
                raise HarnessError(f"{where}{error.message}", hint=error.hint) from error


def _identity(
    method: Method,
    first: Run,
    space: Mapping[str, Dimension],
    rule: SearchRule,
    pairs: Sequence[tuple[int, int]],
) -> str:
    how = rule.model_dump(mode="json", include={"sampler", "seed"})
    if rule.sampler == "grid":
        how["trials"] = rule.trials
    return key_of(
        {
            "method": method.name,
            "facts": first.method_key,
            "space": {path: d.model_dump(mode="json") for path, d in space.items()},
            "repeats": [list(pair) for pair in pairs],
            **how,
        }
    )


def _with_values(request: Request, values: Mapping[str, Any]) -> Request:
    """Return a request with other values, in place of those it has at the same paths."""
    given = parse_assignments(request.settings, option="--set")
    merged = {short_path(path): value for path, value in given.items()} | dict(values)
    return replace(request, settings=tuple(f"{p}={canonical_json(v)}" for p, v in merged.items()))
