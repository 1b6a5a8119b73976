"""The runs of Revisiting Training Strategies, by criterion."""

from __future__ import annotations

from harness.api import RecipeSpec, recipe_cards

RECIPES = {
    "rdml_npair": {
        "cub_npair": "CUB-200-2011: npair",
        "cars_npair": "Cars196: npair",
        "sop_npair": "SOP: npair",
    },
    "rdml_lifted": {
        "cub_genlifted": "CUB-200-2011: lifted",
        "cars_genlifted": "Cars196: lifted",
        "sop_genlifted": "SOP: lifted",
    },
    "rdml_proxynca": {
        "cub_proxynca": "CUB-200-2011: proxynca",
        "cars_proxynca": "Cars196: proxynca",
    },
    "rdml_histogram": {
        "cub_histogram": "CUB-200-2011: histogram",
        "cars_histogram": "Cars196: histogram",
        "sop_histogram": "SOP: histogram",
    },
    "rdml_contrastive": {
        "cub_contrastive": "CUB-200-2011: contrastive, miner distance",
        "cub_r_contrastive": "CUB-200-2011: contrastive, miner rho_distance (cp 0.4)",
        "cars_contrastive": "Cars196: contrastive, miner distance",
        "cars_r_contrastive": "Cars196: contrastive, miner rho_distance (cp 0.35)",
        "sop_contrastive": "SOP: contrastive, miner distance",
        "sop_r_contrastive": "SOP: contrastive, miner rho_distance (cp 0.15)",
    },
    "rdml_softtriplet": {
        "cub_softtriple": "CUB-200-2011: softtriplet",
        "cars_softtriple": "Cars196: softtriplet",
    },
    "rdml_angular": {
        "cub_angular": "CUB-200-2011: angular",
        "cars_angular": "Cars196: angular",
        "sop_angular": "SOP: angular",
    },
    "rdml_arcface": {
        "cub_arcface": "CUB-200-2011: arcface",
        "cars_arcface": "Cars196: arcface",
        "sop_arcface": "SOP: arcface",
    },
    "rdml_triplet": {
        "cub_triplet_random": "CUB-200-2011: triplet, miner random",
        "cub_triplet_semihard": "CUB-200-2011: triplet, miner semihard",
        "cub_triplet_softhard": "CUB-200-2011: triplet, miner softhard",
        "cub_triplet_distance": "CUB-200-2011: triplet, miner distance",
        "cub_r_triplet_distance": "CUB-200-2011: triplet, miner rho_distance (cp 0.4)",
        "cars_triplet_random": "Cars196: triplet, miner random",
        "cars_triplet_semihard": "Cars196: triplet, miner semihard",
        "cars_triplet_softhard": "Cars196: triplet, miner softhard",
        "cars_triplet_distance": "Cars196: triplet, miner distance",
        "cars_r_triplet_distance": "Cars196: triplet, miner rho_distance (cp 0.35)",
        "sop_triplet_random": "SOP: triplet, miner random",
        "sop_triplet_semihard": "SOP: triplet, miner semihard",
        "sop_triplet_softhard": "SOP: triplet, miner softhard",
        "sop_triplet_distance": "SOP: triplet, miner distance",
        "sop_r_triplet_distance": "SOP: triplet, miner rho_distance (cp 0.15)",
    },
    "rdml_quadruplet": {
        "cub_quadruplet": "CUB-200-2011: quadruplet, miner distance",
        "cars_quadruplet": "Cars196: quadruplet, miner distance",
        "sop_quadruplet": "SOP: quadruplet, miner distance",
    },
    "rdml_margin": {
        "cub_margin_b06": "CUB-200-2011: margin (beta 0.6), miner distance",
        "cub_margin_b12": "CUB-200-2011: margin (beta 1.2), miner distance",
        "cub_r_margin_b06": "CUB-200-2011: margin (beta 0.6), miner rho_distance (cp 0.4)",
        "cub_r_margin_b12": "CUB-200-2011: margin (beta 1.2), miner rho_distance (cp 0.35)",
        "cars_margin_b06": "Cars196: margin (beta 0.6), miner distance",
        "cars_margin_b12": "Cars196: margin (beta 1.2), miner distance",
        "cars_r_margin_b06": "Cars196: margin (beta 0.6), miner rho_distance (cp 0.35)",
        "cars_r_margin_b12": "Cars196: margin (beta 1.2), miner rho_distance (cp 0.35)",
        "sop_margin_b06": "SOP: margin (beta 0.6), miner distance",
        "sop_margin_b12": "SOP: margin (beta 1.2), miner distance",
        "sop_r_margin_b06": "SOP: margin (beta 0.6), miner rho_distance (cp 0.15)",
        "sop_r_margin_b12": "SOP: margin (beta 1.2), miner rho_distance (cp 0.15)",
    },
    "rdml_snr": {
        "cub_snr": "CUB-200-2011: snr, miner distance",
        "cub_r_snr": "CUB-200-2011: snr, miner rho_distance (cp 0.3)",
        "cars_snr": "Cars196: snr, miner distance",
        "cars_r_snr": "Cars196: snr, miner rho_distance (cp 0.35)",
        "sop_snr": "SOP: snr, miner distance",
        "sop_r_snr": "SOP: snr, miner rho_distance (cp 0.15)",
    },
    "rdml_multisimilarity": {
        "cub_ms": "CUB-200-2011: multisimilarity",
        "cars_ms": "Cars196: multisimilarity",
        "sop_ms": "SOP: multisimilarity",
    },
    "rdml_softmax": {
        "cub_softmax": "CUB-200-2011: softmax",
        "cars_softmax": "Cars196: softmax",
        "sop_softmax": "SOP: softmax",
    },
}


def cards() -> list[RecipeSpec]:
    """Return the cards of the files in the folder `recipes`."""
    return recipe_cards("harness_rdml", RECIPES)
