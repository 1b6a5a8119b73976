"""What a search tries next: pure, inside its space, and drawn to where it was good."""

from __future__ import annotations

import math

import pytest

from harness.errors import HarnessError
from harness.search import Dimension, Trial, best
from harness.search.asking import SAMPLERS, ask, grid, num_trials

SPACE = {
    "loss.tau": Dimension(low=1, high=64, log=True),
    "loss.margin": Dimension(low=-0.2, high=0.5),
    "miner.k": Dimension(low=2, high=5, integer=True),
    "training.optimizer.name": Dimension(choices=("Adam", "AdamW")),
}
LINE = {"x": Dimension(low=0, high=1)}


def trial(number: int, objective: float | None, **values: object) -> Trial:
    return Trial(number, values, objective, frozenset({(0, 1000)}))


def asked(space, trials, *, sampler="tpe", seed=0):
    return ask(space, trials, asked=60, sampler=sampler, seed=seed, higher_is_better=True)


def searched(objective, *, sampler: str, count: int = 40) -> list[Trial]:
    """Do a search over `LINE` from 0.05."""
    trials = [trial(0, objective(0.05), x=0.05)]
    for number in range(1, count):
        x = asked(LINE, trials, sampler=sampler, seed=number)["x"]
        trials.append(trial(number, objective(x), x=x))
    return trials


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_equal_trials_and_an_equal_seed_give_equal_values(sampler):
    trials = [trial(0, 0.5, **dict.fromkeys(SPACE))]

    first, again = (asked(SPACE, trials, sampler=sampler, seed=7) for _ in range(2))

    assert first == again
    if sampler != "grid":
        assert asked(SPACE, trials, sampler=sampler, seed=8) != first


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_every_value_is_in_its_dimension_and_can_be_typed(sampler):
    trials: list[Trial] = []
    for number in range(25):
        values = asked(SPACE, trials, sampler=sampler, seed=number)
        assert all(SPACE[path].holds(value) for path, value in values.items())
        assert values["loss.tau"] == float(f"{values['loss.tau']:.4g}")
        assert isinstance(values["miner.k"], int)
        trials.append(Trial(number, values, math.sin(number), frozenset()))


def test_tpe_is_drawn_to_where_it_was_good():
    trials = searched(lambda x: -((x - 0.7) ** 2), sampler="tpe")

    far = [abs(one.values["x"] - 0.7) for one in trials]
    assert sum(far[-10:]) < sum(far[1:11]) / 2


def test_failed_trials_and_values_from_outside_are_no_obstacle():
    trials = [trial(0, 0.5, x=7.0), trial(1, None, x=0.5), trial(2, 0.4)]

    assert 0 <= asked(LINE, trials)["x"] <= 1


def test_a_grid_is_even_and_takes_as_many_points_as_trials_allow():
    assert grid(LINE, at_most=5) == [{"x": x} for x in (0.0, 0.25, 0.5, 0.75, 1.0)]
    log = {"y": Dimension(low=0.01, high=1, log=True), "n": Dimension(choices=("a", "b"))}
    points = grid(log, at_most=7)
    assert [(p["y"], p["n"]) for p in points] == [
        (0.01, "a"), (0.01, "b"), (0.1, "a"), (0.1, "b"), (1.0, "a"), (1.0, "b"),
    ]  # fmt: skip
    assert num_trials(log, asked=8, sampler="grid") == 7


def test_a_grid_of_few_whole_numbers_ends():
    assert grid({"n": Dimension(low=2, high=4, integer=True)}, at_most=100) == [
        {"n": 2}, {"n": 3}, {"n": 4},
    ]  # fmt: skip


def test_a_grid_that_is_too_large_says_how_large():
    with pytest.raises(HarnessError, match="at least 16 points") as refused:
        grid(SPACE, at_most=10)
    assert "trials: 17" in str(refused.value.hint)


def test_the_best_is_the_first_of_equal_ones_and_never_one_that_failed():
    trials = [trial(0, 0.3), trial(1, None), trial(2, 0.6), trial(3, 0.6), trial(4, 0.1)]

    found = [best(trials, higher_is_better=way) for way in (True, False)]

    assert [one.number for one in found if one] == [2, 4]
    assert best(trials[1:2], higher_is_better=True) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param({"low": 1}, "give low and high, or choices", id="half"),
        pytest.param({"low": 2, "high": 1}, "is empty", id="empty"),
        pytest.param({"low": 0, "high": 1, "log": True}, "cannot start at 0", id="log"),
        pytest.param({"low": 0.5, "high": 2, "integer": True}, "whole numbers", id="whole"),
        pytest.param({"choices": [1], "log": True}, "choices have no", id="both"),
    ],
)
def test_a_dimension_that_makes_no_sense_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        Dimension(**content)
