"""Published settings of Proxy-ISA."""

from __future__ import annotations

from harness.api import RecipeSpec, recipe_cards

RECIPES = {
    "proxy_isa": {
        "cub_bn_inception": "CUB-200-2011, BN-Inception, 512-d, as the authors' command",
        "cub_resnet50": "CUB-200-2011, ResNet-50, 512-d, as the authors' command",
        "cars_bn_inception": "Cars196, BN-Inception, 512-d, as the authors' command",
        "cars_resnet50": "Cars196, ResNet-50, 512-d, as the authors' command",
        "sop_bn_inception": "SOP, BN-Inception, 512-d, as the authors' command",
        "inshop_bn_inception": "In-Shop, BN-Inception, 512-d, as the authors' command",
    },
}


def cards() -> list[RecipeSpec]:
    """Return the cards of the files in the folder `recipes`."""
    return recipe_cards("harness_proxy_isa", RECIPES)
