"""The recipes: published values that a protocol with those fields open accepts."""

from importlib import resources
from pathlib import Path

import pytest
from harness_hist import harness_recipes

from harness import protocol as protocols
from harness import recipe as recipes
from harness.api import RecipeSpec
from harness.plan import Request, make_plan
from harness.registry import discover

RECIPES = harness_recipes()
ROOT = Path(__file__).parents[3]


def test_every_recipe_file_has_a_card():
    folder = resources.files("harness_hist") / "recipes"

    files = {f"recipes/{path.name}" for path in folder.iterdir()}

    assert files == {card.path for card in RECIPES}


@pytest.mark.parametrize("card", RECIPES, ids=lambda card: card.name)
def test_recipe_plans_a_run_where_its_fields_are_open(card: RecipeSpec):
    recipe = recipes.load(card)
    protocol = protocols.load(ROOT / "protocols" / "mlrc_cub.yaml")
    paths = {path for path in recipe.values if not path.startswith("loss.")}
    opened = protocol.model_copy(update={"open": ("loss", *sorted(paths))})

    runs = make_plan(opened, discover(), Request(plugins=("hist",), recipe=card.name))

    run = runs[0]
    assert run.loss.params.tau == recipe.values["loss.tau"]
    assert run.protocol.training.epochs == recipe.values["training.epochs"]
    assert run.sampler.card.name == "random"
    assert run.deviations == ()


@pytest.mark.parametrize("card", RECIPES, ids=lambda card: card.name)
def test_card_and_file_say_the_same(card: RecipeSpec):
    recipe = recipes.load(card)

    assert recipe.summary == card.summary
    assert recipe.source


# Typed a second time: tau, alpha, epochs, lr, lr_ds, factor, decay, step
PUBLISHED = {
    "cub_resnet50": (32, 1.1, 40, 1.2e-4, 0.1, 5, 5e-5, 5),
    "cars_resnet50": (32, 0.9, 50, 1e-4, 0.1, 10, 1e-4, 10),
    "sop_resnet50": (16, 2.0, 60, 1e-4, 0.01, 10, 1e-4, 10),
    "cub_resnet50_tuned": (24, 1.15, 40, 1.2e-4, 0.1, 5, 5e-5, 5),
    "cars_resnet50_tuned": (32, 0.8, 50, 1e-4, 0.1, 10, 1e-4, 10),
    "sop_resnet50_tuned": (20, 2.1, 60, 1e-4, 0.01, 10, 1e-4, 10),
}


@pytest.mark.parametrize("card", RECIPES, ids=lambda card: card.name)
def test_values_are_the_published_ones(card: RecipeSpec):
    values = recipes.load(card).values

    assert PUBLISHED[card.name] == (
        values["loss.tau"],
        values["loss.alpha"],
        values["training.epochs"],
        values["training.optimizer"]["lr"],
        values["loss.lr_ds"],
        values["loss.lr_hgnn_factor"],
        values["training.optimizer"]["weight_decay"],
        values["training.schedule"]["every"],
    )
