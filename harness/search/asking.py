"""What to try next: a pure function of the space, the trials so far and a seed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import HarnessError
from harness.search.space import Dimension, Space
from harness.search.trials import Trial

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

Sampler = Literal["tpe", "random", "grid"]
SAMPLERS: tuple[Sampler, ...] = ("tpe", "random", "grid")
MOST_POINTS = 1000  # of one axis of a grid


def num_trials(space: Space, *, asked: int, sampler: Sampler) -> int:
    """Return how many trials a search comes to: those asked for, or as many as a grid has.

    Raises:
        HarnessError: A grid has more points than trials are asked for.
    """
    if sampler != "grid":
        return asked
    return 1 + len(grid(space, at_most=asked - 1))


def ask(
    space: Space,
    trials: Sequence[Trial],
    *,
    asked: int,
    sampler: Sampler,
    seed: int,
    higher_is_better: bool,
) -> dict[str, Any]:
    """Return the values of the trial after these.

    An Optuna study is built anew from the trials, so there is nothing to save and nothing to
    lose: equal trials and an equal seed give equal values.

    Args:
        space: Where to look.
        trials: All before this one, in order; those without an objective count as failed.
        asked: How many there will be; it sets the distance of the points of a grid.
        sampler: Which rule. A grid takes its points in order.
        seed: Of this one question.
        higher_is_better: Which way the objective improves.
    """
    if sampler == "grid":
        return grid(space, at_most=asked - 1)[len(trials) - 1]
    study = _study(sampler, seed=seed, higher_is_better=higher_is_better)
    distributions = {path: _distribution(dimension) for path, dimension in space.items()}
    for trial in trials:
        study.add_trial(_told(trial, space, distributions))
    values = study.ask(fixed_distributions=distributions).params
    return {path: _value(dimension, values[path]) for path, dimension in space.items()}


def grid(space: Space, *, at_most: int) -> list[dict[str, Any]]:
    """Return the points of a grid, the last parameter changing first.

    Intervals are divided evenly (by ratio where logarithmic), ends included, into as many points
    each as the number of trials allows.

    Raises:
        HarnessError: Two points for each interval, and every choice, are too many.
    """
    fitting: list[list[Any]] = []
    for points in range(2, MOST_POINTS):
        axes = [_axis(dimension, points) for dimension in space.values()]
        if _size(axes) > at_most or (fitting and _size(axes) == _size(fitting)):
            break
        fitting = axes
    if not fitting:
        least = _size([_axis(dimension, 2) for dimension in space.values()])
        raise HarnessError(
            f"a grid over {', '.join(space)} has at least {least} points",
            hint=f"trials: {least + 1} (one is for the values that the method starts with), "
            "or another sampler",
        )
    return [dict(zip(space, point, strict=True)) for point in product(*fitting)]


def _size(axes: Sequence[Sequence[Any]]) -> int:
    size = 1
    for axis in axes:
        size *= len(axis)
    return size


def _axis(dimension: Dimension, points: int) -> list[Any]:
    if dimension.choices is not None:
        return list(dimension.choices)
    low, high = dimension.ends
    shares = [index / (points - 1) for index in range(points)]
    if dimension.log:
        values = [low * (high / low) ** share for share in shares]
    else:
        values = [low + (high - low) * share for share in shares]
    return list(dict.fromkeys(dimension.number(value) for value in values))


def _study(sampler: Sampler, *, seed: int, higher_is_better: bool) -> Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rules: dict[str, type[BaseSampler]] = {
        "tpe": optuna.samplers.TPESampler,
        "random": optuna.samplers.RandomSampler,
    }
    direction = "maximize" if higher_is_better else "minimize"
    rule: Any = rules[sampler]
    return optuna.create_study(direction=direction, sampler=rule(seed=seed % 2**32))


def _distribution(dimension: Dimension) -> BaseDistribution:
    from optuna import distributions

    if dimension.choices is not None:
        return distributions.CategoricalDistribution(dimension.choices)
    low, high = dimension.ends
    if dimension.integer:
        return distributions.IntDistribution(int(low), int(high), log=dimension.log)
    return distributions.FloatDistribution(low, high, log=dimension.log)


def _told(trial: Trial, space: Space, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    """Return a trial as Optuna knows it; a value that it could not have asked for is left out."""
    from optuna.trial import TrialState, create_trial

    values = {path: v for path, v in trial.values.items() if space[path].holds(v)}
    failed = trial.objective is None
    return create_trial(
        state=TrialState.FAIL if failed else TrialState.COMPLETE,
        value=trial.objective,
        params=values,
        distributions={path: distributions[path] for path in values},
    )


def _value(dimension: Dimension, value: Any) -> Any:  # noqa: ANN401 - a number or a choice
    return value if dimension.choices is not None else dimension.number(value)
