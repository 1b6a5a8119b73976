"""Published settings of losses that pytorch-metric-learning has."""

from __future__ import annotations

from harness.api import RecipeSpec, recipe_cards

RECIPES = {
    "proxy_anchor": {
        "cub_bn_inception": "CUB-200-2011, BN-Inception, 512-d, as the authors' README",
        "cub_resnet50": "CUB-200-2011, ResNet-50, 512-d, as the authors' README",
        "cars_bn_inception": "Cars196, BN-Inception, 512-d, as the authors' README",
        "cars_resnet50": "Cars196, ResNet-50, 512-d, as the authors' README",
        "sop_bn_inception": "SOP, BN-Inception, 512-d, as the authors' README",
        "inshop_bn_inception": "In-Shop, BN-Inception, 512-d, as the authors' README",
    },
}


def cards() -> list[RecipeSpec]:
    """Return the cards of the files in the folder `recipes`."""
    return recipe_cards("harness_pml", RECIPES)
