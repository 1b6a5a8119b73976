"""Where a search looks: an interval or a choice for each parameter."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, get_args

from pydantic import Field, model_validator

from harness.errors import HarnessError
from harness.plan import Run
from harness.plan.assignments import short_path
from harness.protocol import Section, full_path, is_open, value_at
from harness.specs import Search


class Dimension(Section):
    """The values that a search may give one parameter.

    Attributes:
        low, high: Ends of an interval, inclusive.
        log: Equal ratios are equally likely, rather than equal differences.
        integer: Whole numbers only; None takes it from the value that the method starts with.
        choices: Instead of an interval: every value there is.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    integer: bool | None = None
    choices: Annotated[tuple[Any, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Dimension:
        if (self.choices is None) == (self.low is None or self.high is None):
            raise ValueError("give low and high, or choices")
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("choices have no low, high or log")
            return self
        low, high = self.ends
        if not low < high:
            raise ValueError(f"the interval from {low:g} to {high:g} is empty")
        if self.log and low <= 0:
            raise ValueError(f"a logarithmic interval cannot start at {low:g}")
        if self.integer and not (low.is_integer() and high.is_integer()):
            raise ValueError(f"the ends {low:g} and {high:g} are no whole numbers")
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """Both ends of an interval."""
        assert self.low is not None, "choices have no ends"
        assert self.high is not None, "choices have no ends"
        return self.low, self.high

    def number(self, value: float) -> float | int:
        """Return a number of the interval as it is tried: four digits, so that it can be typed.

        >>> Dimension(low=0, high=1).number(0.123456)
        0.1235
        """
        low, high = self.ends
        inside = min(max(float(f"{value:.4g}"), low), high)
        return round(value) if self.integer else inside

    def extremes(self) -> tuple[Any, ...]:
        """Return what is checked before anything runs: both ends, or every choice."""
        if self.choices is not None:
            return self.choices
        return tuple(int(end) if self.integer else end for end in self.ends)

    def holds(self, value: object) -> bool:
        """Return whether a value is one that the search may give."""
        if self.choices is not None:
            return value in self.choices
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        low, high = self.ends
        return low <= value <= high and (not self.integer or float(value).is_integer())


Space = Mapping[str, Dimension]


def space_of(
    run: Run, given: Mapping[str, Dimension], held: Collection[str] = ()
) -> dict[str, Dimension]:
    """Return the space of a method, by short path; empty when there is nothing to search.

    Args:
        run: Of the method with the values it starts with.
        given: By path as people type it; empty takes the intervals that the cards of the
            method's components suggest.
        held: Paths that keep their values unless `given` names them.

    Raises:
        HarnessError: A path is given twice, in two spellings.
    """
    found = {_short(path): dimension for path, dimension in given.items()}
    if len(found) < len(given):
        raise HarnessError("space: a path is given twice", hint=f"keep one of {', '.join(given)}")
    found = found or dict(_suggested(run, {_short(path) for path in held}))
    return {path: _typed(dimension, run, path) for path, dimension in found.items()}


def starts(run: Run, space: Space) -> dict[str, Any]:
    """Return the values that a method starts with, where the space has them."""
    return {path: start(run, path) for path in space}


def start(run: Run, path: str) -> object:
    """Return the value of a parameter or field in a run; None where it has none."""
    keys = full_path(path)
    components = {str(kind): chosen for kind, chosen in run.components}
    if len(keys) > 2 and keys[1] == "params" and keys[0] in components:  # noqa: PLR2004
        value: Any = components[keys[0]].params.model_dump(mode="json")
        for key in keys[2:]:
            value = value.get(key) if isinstance(value, dict) else None
        return value
    return value_at(run.protocol, path)


def _short(path: str) -> str:
    return short_path(".".join(full_path(path)))


def _suggested(run: Run, held: Collection[str]) -> Iterator[tuple[str, Dimension]]:
    """Yield the intervals on the cards of the components that a method may change."""
    for kind, chosen in run.components:
        for name, field in chosen.card.params.model_fields.items():
            path = f"{kind}.{name}"
            search = next((mark for mark in field.metadata if isinstance(mark, Search)), None)
            if search and path not in held and is_open(run.written, f"{kind}.params.{name}"):
                yield path, Dimension(low=search.low, high=search.high, log=search.log)


def _typed(dimension: Dimension, run: Run, path: str) -> Dimension:
    """Return a dimension that knows whether it is of whole numbers."""
    if dimension.choices is not None or dimension.integer is not None:
        return dimension
    whole = _is_whole(run, path) and all(end.is_integer() for end in dimension.ends)
    return Dimension(low=dimension.low, high=dimension.high, log=dimension.log, integer=whole)


def _is_whole(run: Run, path: str) -> bool:
    """Return whether a path takes whole numbers: what its card says, else what its value is."""
    kind, _, name = path.partition(".")
    cards = {str(kind): chosen.card for kind, chosen in run.components}
    field = cards[kind].params.model_fields.get(name) if kind in cards else None
    if field is not None:
        kinds = {field.annotation, *get_args(field.annotation)}
        return int in kinds and float not in kinds
    value = start(run, path)
    return isinstance(value, int) and not isinstance(value, bool)
