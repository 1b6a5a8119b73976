"""Published settings of HIST."""

from __future__ import annotations

from harness.api import RecipeSpec, recipe_cards

RECIPES = {
    "hist": {
        "cub_resnet50": "CUB-200-2011, ResNet-50, 512-d, as the authors' code sets it",
        "cars_resnet50": "Cars196, ResNet-50, 512-d, as the authors' code sets it",
        "sop_resnet50": "SOP, ResNet-50, 512-d, as the authors' code sets it",
        "cub_resnet50_tuned": "CUB-200-2011, ResNet-50, 512-d, tuned by the HIST-RE study",
        "cars_resnet50_tuned": "Cars196, ResNet-50, 512-d, tuned by the HIST-RE study",
        "sop_resnet50_tuned": "SOP, ResNet-50, 512-d, tuned by the HIST-RE study",
    },
}


def cards() -> list[RecipeSpec]:
    """Return the cards of the files in the folder `recipes`."""
    return recipe_cards("harness_hist", RECIPES)
