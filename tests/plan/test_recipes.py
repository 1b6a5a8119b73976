"""Which recipe a name means, and what happens where it does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.plan import Request, Run, make_plan
from harness.protocol import Protocol, with_values
from harness.registry import Entry, Origin, Registry
from harness.specs import MinerSpec, NoParams, Params, RecipeSpec, recipe_cards

RIVAL = Origin("rival-dml", "3.0", "rival", "rival_dml")
OTHER = """\
name: published
summary: Values of another paper.
method: triplet
protocols: [small_triplets, large_triplets]
values:
  miner.name: few_triplets
  miner.most: 5
  training.epochs: 7
"""


class Few(Params):
    most: int = 3


def build(params: object, context: object) -> None:
    raise NotImplementedError


@pytest.fixture
def two(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Return the registry with a second recipe called `published`, for `triplet`."""
    folder = tmp_path / "rival_recipes" / "recipes"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "published.yaml").write_text(OTHER)
    monkeypatch.delitem(__import__("sys").modules, "rival_recipes", raising=False)
    (card,) = recipe_cards("rival_recipes", {"triplet": {"published": "Values of another paper."}})
    miner = MinerSpec(name="few_triplets", summary="", build=build, gives="triplets", params=Few)
    rivals = (Entry(card, RIVAL), Entry(miner, RIVAL))
    return replace(registry, cards=(*registry.cards, *rivals))


def first(protocol: Protocol, registry: Registry, **request: Any) -> Run:
    return make_plan(protocol, registry, Request(**request))[0]


def test_recipe_cards_point_to_the_folder_of_recipes():
    (card,) = recipe_cards("some_package", {"hist": {"cub": "Birds."}})

    assert card == RecipeSpec(
        name="cub",
        summary="Birds.",
        method="hist",
        package="some_package",
        path="recipes/cub.yaml",
    )


@pytest.mark.parametrize(
    ("request_", "epochs"),
    [
        pytest.param({"plugins": ("plain",), "recipe": "published"}, 40, id="by-loss"),
        pytest.param({"plugins": ("triplet",), "recipe": "published"}, 7, id="by-the-other-loss"),
        pytest.param({"recipe": "plain/published"}, 40, id="by-method"),
        pytest.param({"recipe": "triplet/published"}, 7, id="by-the-other-method"),
        pytest.param({"recipe": "rival:published"}, 7, id="by-distribution"),
    ],
)
def test_recipes_of_one_name_are_told_apart(
    small: Protocol, two: Registry, request_: dict[str, Any], epochs: int
):
    run = first(small, two, **request_)

    assert run.protocol.training.epochs == epochs
    assert run.recipe == "published"
    assert "@published" in run.method


def test_the_loss_of_the_protocol_decides_too(small: Protocol, two: Registry):
    written = with_values(small, {"loss.name": "plain"})

    assert first(written, two, recipe="published").protocol.training.epochs == 40


def test_a_recipe_brings_its_miner_and_a_named_one_replaces_it(small: Protocol, two: Registry):
    published = first(small, two, recipe="triplet/published")
    replaced = first(small, two, plugins=("all_triplets",), recipe="triplet/published")

    assert (published.miner.card.name, published.miner.params) == ("few_triplets", Few(most=5))
    assert (replaced.miner.card.name, replaced.miner.params) == ("all_triplets", NoParams())
    assert replaced.protocol.training.epochs == 7


@pytest.mark.parametrize(
    ("request_", "message", "hint"),
    [
        pytest.param(
            {"recipe": "published"},
            "recipe 'published' is ambiguous: 2 methods have one",
            "type --recipe plain/published or --recipe triplet/published",
            id="ambiguous",
        ),
        pytest.param(
            {"recipe": "pairwise/published"},
            "method pairwise has no recipe 'published'",
            "--recipe plain/published or --recipe triplet/published",
            id="method",
        ),
        pytest.param(
            {"recipe": "plain/publishd"}, "unknown recipe 'publishd'", "'published'", id="name"
        ),
        pytest.param(
            {"recipe": "triplet/published", "plugins": ("plain",)},
            "recipe published is for the loss acme-dml:triplet, not acme-dml:plain",
            "--plugin triplet",
            id="other-loss",
        ),
    ],
)
def test_a_recipe_that_nobody_means_is_refused(
    small: Protocol, two: Registry, request_: dict[str, Any], message: str, hint: str
):
    with pytest.raises(HarnessError) as error:
        make_plan(small, two, Request(**request_))

    assert message in error.value.message
    assert hint in str(error.value.hint)


def test_a_protocol_that_fixes_a_field_names_the_one_that_does_not(small: Protocol, two: Registry):
    fixed = small.model_copy(update={"open": ("loss", "miner")})

    with pytest.raises(HarnessError) as error:
        make_plan(fixed, two, Request(recipe="triplet/published"))

    assert "recipe published: training.epochs=7: protocol small fixes" in error.value.message
    assert error.value.hint == (
        "it was published for small_triplets, large_triplets; "
        "harness run small_triplets --recipe triplet/published"
    )
