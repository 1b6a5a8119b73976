"""The recipes hold the published values, typed here a second time."""

import pytest
from harness_hist import harness_recipes

from harness import recipe as recipes
from harness.api import RecipeSpec

RECIPES = harness_recipes()

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
    training = values["training"]

    assert PUBLISHED[card.name] == (
        values["loss.tau"],
        values["loss.alpha"],
        training["epochs"],
        training["optimizer"]["lr"],
        values["loss.lr_ds"],
        values["loss.lr_hgnn_factor"],
        training["optimizer"]["weight_decay"],
        training["schedule"]["every"],
    )
