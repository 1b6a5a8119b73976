from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.documents import keys_at, parse, validate
from harness.errors import HarnessError


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Resize(Section):
    step: Literal["resize"]
    size: Annotated[int, Field(ge=1, le=100)]


class Flip(Section):
    step: Literal["flip"]
    p: Annotated[float, Field(ge=0, lt=1)] = 0.5


class Head(Section):
    dim: Annotated[int, Field(gt=0)] = 4
    kind: Literal["linear", "identity"] = "linear"


class Whole(Section):
    name: Annotated[str, Field(pattern="^[a-z]+$")] = "whole"
    head: Head = Head()
    steps: tuple[Annotated[Resize | Flip, Field(discriminator="step")], ...] = ()
    options: dict[str, float | bool | tuple[float, float]] = Field(default_factory=dict)
    params: dict[str, Any] = Field(default_factory=dict)
    maybe: Head | None = None
    flag: bool = False

    @model_validator(mode="after")
    def _refuse_bad(self) -> Whole:
        if self.name == "bad":
            raise ValueError("name must not be bad")
        return self


def test_a_document_becomes_its_model():
    text = "head: {dim: 8}\nsteps:\n  - {step: flip, p: 0}\noptions: {betas: [0.9, 1], x: true}\n"

    whole = validate(Whole, parse(text, source="x"))

    assert whole.head == Head(dim=8)
    assert whole.steps == (Flip(step="flip", p=0.0),)
    assert whole.options == {"betas": (0.9, 1.0), "x": True}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "head:\n  dimm: 3", "x:2:3: head.dimm: unknown key (did you mean 'dim'?)", id="typo"
        ),
        pytest.param(
            "head:\n  zzz: 3", "x:2:3: head.zzz: unknown key (it has dim, kind)", id="unknown"
        ),
        pytest.param(
            "hed: {}", "x:1:1: hed: unknown key (did you mean 'head'?)", id="unknown-section"
        ),
        pytest.param(
            "maybe: {dimm: 3}",
            "x:1:9: maybe.dimm: unknown key (did you mean 'dim'?)",
            id="optional",
        ),
        pytest.param(
            "steps:\n  - {step: resise}",
            "x:2:5: steps.0: 'resise' is not one of 'resize', 'flip'; did you mean 'resize'?",
            id="unknown-step",
        ),
        pytest.param("steps: [{size: 3}]", "x:1:9: steps.0: needs the key 'step'", id="no-step"),
        pytest.param(
            "steps: [{step: resize}]", "steps.0.size: this key is required", id="missing"
        ),
        pytest.param(
            "steps: [{step: resize, size: 1, sise: 1}]",
            "steps.0.sise: unknown key (did you mean 'size'?)",
            id="typo-in-step",
        ),
        pytest.param(
            "steps: [{step: resize, size: 0}]", "steps.0.size: 0 is less than 1", id="ge"
        ),
        pytest.param("steps: [{step: resize, size: 101}]", "101 is more than 100", id="le"),
        pytest.param("steps: [{step: flip, p: 1}]", "1 must be less than 1", id="lt"),
        pytest.param("head: {dim: 0}", "head.dim: 0 must be more than 0", id="gt"),
        pytest.param("head: {dim: '3'}", "head.dim: must be an integer, is '3'", id="text"),
        pytest.param("head: {dim: true}", "head.dim: must be an integer, is true", id="boolean"),
        pytest.param("head: {dim: 1.5}", "head.dim: must be an integer, is 1.5", id="fraction"),
        pytest.param("head: {dim: }", "head.dim: must be an integer, is empty", id="empty"),
        pytest.param("head: {dim: [1]}", "must be an integer, is a list of 1", id="list"),
        pytest.param("head: 7", "x:1:1: head: must be a mapping, is 7", id="no-mapping"),
        pytest.param("steps: 7", "steps: must be a list, is 7", id="no-list"),
        pytest.param("flag: 1", "flag: must be true or false, is 1", id="no-boolean"),
        pytest.param("name: 7", "name: must be text, is 7", id="no-text"),
        pytest.param("name: A", "name: must match pattern '^[a-z]+$', is 'A'", id="pattern"),
        pytest.param(
            "head: {kind: lineer}",
            "'lineer' is not one of 'linear' or 'identity'; did you mean 'linear'?",
            id="literal",
        ),
        pytest.param("name: bad", "x:1:1: name must not be bad", id="validator"),
        pytest.param("options: {a: x}", "options.a: must be a number, is 'x' or", id="union"),
        pytest.param("steps: [{step: flip, p: .nan}]", "steps.0.p: must be a finite", id="nan"),
    ],
)
def test_a_wrong_document_is_refused_with_place_path_and_value(text: str, message: str):
    with pytest.raises(HarnessError) as error:
        validate(Whole, parse(text, source="x"))

    assert message in error.value.message
    assert "\n" not in error.value.message


def test_each_problem_has_a_line_in_the_order_of_the_file():
    text = "options: {a: x}\nhead: {dim: 0}\nsteps: [{step: resize}]\n"

    with pytest.raises(HarnessError) as error:
        validate(Whole, parse(text, source="x"))

    paths = [line.split(": ")[1] for line in error.value.message.splitlines()]
    assert paths == ["options.a", "head.dim", "steps.0.size"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param(
            (), {"name", "head", "steps", "options", "params", "maybe", "flag"}, id="top"
        ),
        pytest.param(("head",), {"dim", "kind"}, id="section"),
        pytest.param(("maybe",), {"dim", "kind"}, id="optional"),
        pytest.param(("steps", 0), {"step", "size", "p"}, id="item"),
        pytest.param(("head", "dim"), set(), id="plain-value"),
        pytest.param(("params",), None, id="anything"),
        pytest.param(("params", "a", "b"), None, id="below-anything"),
    ],
)
def test_keys_below_a_path(path: tuple, expected: set[str] | None):
    assert keys_at(Whole, path) == expected


@pytest.mark.parametrize(
    "path", [("hed",), ("head", "dimm"), ("head", "dim", "x"), ("steps", "a")]
)
def test_a_path_that_names_nothing_is_a_key_error(path: tuple):
    with pytest.raises(KeyError):
        keys_at(Whole, path)
