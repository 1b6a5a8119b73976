from functools import partial
from typing import Annotated, Literal

import pytest
from pydantic import Field

from harness.cli.describe import Parameter, card_facts, parameters, source_of, text
from harness.registry import Entry, Origin
from harness.specs import BackboneSpec, Params, Search

ORIGIN = Origin("acme", "1.2", "acme", "acme")


class ManyParams(Params):
    tau: Annotated[
        float, Field(gt=0, le=100, description="inverse temperature"), Search(1, 64, log=True)
    ] = 32.0
    k: Annotated[int, Field(ge=1)] | None = None
    mode: Literal["hard", "easy"] = "hard"
    weights: tuple[float, ...] = (1.0, 2.0)
    width: int


@pytest.mark.parametrize(
    "expected",
    [
        Parameter("tau", "float", "32.0", "(0, 100]", "1 to 64, log", "inverse temperature"),
        Parameter("k", "int | none", "None", "[1, inf)", "", ""),
        Parameter("mode", "hard | easy", "hard", "", "", ""),
        Parameter("weights", "tuple of float", "(1.0, 2.0)", "", "", ""),
        Parameter("width", "int", "required", "", "", ""),
    ],
    ids=lambda parameter: parameter.name,
)
def test_a_parameter_is_described_by_its_annotation(expected):
    assert expected in parameters(ManyParams)


def build_nothing(params, context):
    return None


def test_a_card_lists_its_own_facts_after_the_general_ones_and_leaves_empty_ones_out():
    card = BackboneSpec(name="net", summary="A net.", build=build_nothing, features=8)

    said = card_facts(Entry(card, ORIGIN))

    assert list(said)[:2] == ["summary", "from"]
    assert said["features"] == 8
    assert "paper" not in said
    assert "weights" not in said


def test_the_source_of_a_builder_is_a_file_and_a_line_even_behind_a_partial():
    line = build_nothing.__code__.co_firstlineno

    assert source_of(partial(partial(build_nothing, 1), 2)) == f"{__file__}:{line}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "yes"),
        ((1, 2), "1, 2"),
        ({"a": (1, 2), "b": {"c": 3}}, "a (1, 2), b (c 3)"),
    ],
)
def test_facts_are_one_line_of_text(value, expected):
    assert text(value) == expected
