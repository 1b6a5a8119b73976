"""Published settings of direction regularisation."""

from __future__ import annotations

from harness.api import RecipeSpec, recipe_cards

RECIPES = {
    "dr_triplet": {
        "cub_triplet": "CUB-200-2011, BN-Inception, 64-d, as the reproduction's command",
    },
    "dr_proxy_nca": {
        "cub_proxy_nca": "CUB-200-2011, BN-Inception, 64-d, as the reproduction's command",
    },
    "dr_ms": {
        "cub_ms": "CUB-200-2011, BN-Inception, 64-d, as the reproduction's command",
    },
}


def cards() -> list[RecipeSpec]:
    """Return the cards of the files in the folder `recipes`."""
    return recipe_cards("harness_direction", RECIPES)
