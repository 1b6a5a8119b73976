"""Published settings of Hyp and of its spherical baseline."""

from __future__ import annotations

from harness.api import RecipeSpec, recipe_cards

RECIPES = {
    "hyp": {
        "cub_vit_s16": "CUB-200-2011, ViT-S/16, in the ball",
        "cub_dino_vits16": "CUB-200-2011, DINO ViT-S/16, in the ball",
        "cub_deit_s16_distilled": "CUB-200-2011, DeiT-S distilled, in the ball",
        "cars_vit_s16": "Cars196, ViT-S/16, in the ball",
        "cars_dino_vits16": "Cars196, DINO ViT-S/16, in the ball",
        "cars_deit_s16_distilled": "Cars196, DeiT-S distilled, in the ball",
        "sop_vit_s16": "SOP, ViT-S/16, in the ball",
        "sop_dino_vits16": "SOP, DINO ViT-S/16, in the ball",
        "sop_deit_s16_distilled": "SOP, DeiT-S distilled, in the ball",
        "inshop_vit_s16": "In-Shop, ViT-S/16, in the ball",
        "inshop_dino_vits16": "In-Shop, DINO ViT-S/16, in the ball",
        "inshop_deit_s16_distilled": "In-Shop, DeiT-S distilled, in the ball",
        "cub_vit_s16_sphere": "CUB-200-2011, ViT-S/16, on the sphere",
        "cub_dino_vits16_sphere": "CUB-200-2011, DINO ViT-S/16, on the sphere",
        "cub_deit_s16_distilled_sphere": "CUB-200-2011, DeiT-S distilled, on the sphere",
        "cars_vit_s16_sphere": "Cars196, ViT-S/16, on the sphere",
        "cars_dino_vits16_sphere": "Cars196, DINO ViT-S/16, on the sphere",
        "cars_deit_s16_distilled_sphere": "Cars196, DeiT-S distilled, on the sphere",
        "sop_vit_s16_sphere": "SOP, ViT-S/16, on the sphere",
        "sop_dino_vits16_sphere": "SOP, DINO ViT-S/16, on the sphere",
        "sop_deit_s16_distilled_sphere": "SOP, DeiT-S distilled, on the sphere",
        "inshop_vit_s16_sphere": "In-Shop, ViT-S/16, on the sphere",
        "inshop_dino_vits16_sphere": "In-Shop, DINO ViT-S/16, on the sphere",
        "inshop_deit_s16_distilled_sphere": "In-Shop, DeiT-S distilled, on the sphere",
    },
}


def cards() -> list[RecipeSpec]:
    """Return the cards of the files in the folder `recipes`."""
    return recipe_cards("harness_hyp", RECIPES)
