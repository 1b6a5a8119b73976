"""Published settings of HIER."""

from __future__ import annotations

from harness.api import RecipeSpec, recipe_cards

RECIPES = {
    "hier": {
        "cub_dino_vits16": "CUB-200-2011, DINO ViT-S/16, as scripts/DINO/hier_CUB.sh",
        "cars_dino_vits16": "Cars196, DINO ViT-S/16, as scripts/DINO/hier_Cars.sh",
        "inshop_dino_vits16": "In-Shop, DINO ViT-S/16, as scripts/DINO/hier_Inshop.sh",
        "sop_dino_vits16": "SOP, DINO ViT-S/16, as scripts/DINO/hier_SOP.sh",
        "cub_deit_s16_distilled": "CUB-200-2011, DeiT-S distilled, as scripts/Deit/hier_CUB.sh",
        "cars_deit_s16_distilled": "Cars196, DeiT-S distilled, as scripts/Deit/hier_Cars.sh",
        "inshop_deit_s16_distilled": "In-Shop, DeiT-S distilled, as scripts/Deit/hier_Inshop.sh",
        "sop_deit_s16_distilled": "SOP, DeiT-S distilled, as scripts/Deit/hier_SOP.sh",
        "cub_resnet50": "CUB-200-2011, ResNet-50, as scripts/Resnet50/hier_CUB.sh",
        "cars_resnet50": "Cars196, ResNet-50, as scripts/Resnet50/hier_Cars.sh",
        "inshop_resnet50": "In-Shop, ResNet-50, as scripts/Resnet50/hier_Inshop.sh",
        "sop_resnet50": "SOP, ResNet-50, as scripts/Resnet50/hier_SOP.sh",
        "cub_vit_s16": "CUB-200-2011, ViT-S/16, as scripts/ViT/hier_CUB.sh",
        "cars_vit_s16": "Cars196, ViT-S/16, as scripts/ViT/hier_Cars.sh",
        "inshop_vit_s16": "In-Shop, ViT-S/16, as scripts/ViT/hier_Inshop.sh",
        "sop_vit_s16": "SOP, ViT-S/16, as scripts/ViT/hier_SOP.sh",
    },
}


def cards() -> list[RecipeSpec]:
    """Return the cards of the files in the folder `recipes`."""
    return recipe_cards("harness_hier", RECIPES)
