"""How golden cases of the miners are replayed: pools and probabilities, never draws.

Lists with a row per anchor have a row for each anchor that the miner visits.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from harness.api import Batch, BuildContext, Pairs, Params, Progress, Triplets
from harness.kit.pairs import negative_pairs, positive_pairs
from harness.testing.golden import Case, Numbers, refuse_unknown, tensor
from harness_rdml import miner_pools as pools
from harness_rdml.miner_cards import (
    MINERS,
    DistanceParams,
    ParametricParams,
    RhoDistanceParams,
    SemihardParams,
)
from harness_rdml.miners import RhoDistanceMiner

INPUTS = ("embeddings", "labels", "permutation")
DISTANCE, RANDOM = "distance", "random"
"""What the authors' classes call themselves; two of them borrow another's name."""


def _batch(case: Case, dtype: torch.dtype) -> Batch:
    """Return the batch of a case; a case of labels alone gets embeddings that no one looks at."""
    refuse_unknown(case.inputs, INPUTS)
    labels = tensor(case.inputs["labels"])
    anything = [[1.0]] * len(labels)
    return Batch.of(tensor(case.inputs.get("embeddings", anything), dtype), labels)


def _params(case: Case, model: type[Params]) -> Any:  # noqa: ANN401 - of that model
    """Return the parameters of a case; `upper_cutoff` is the published one, which does nothing."""
    given = {name: value for name, value in case.params.items() if name != "upper_cutoff"}
    refuse_unknown(given, model.model_fields, what="params")
    return model(**given)


def _mine(case: Case, dtype: torch.dtype) -> Triplets | Pairs:
    """Run the registered miner of a case, with its defaults."""
    name = case.method.replace("rdml.miner.", "rdml_")
    card = next(card for card in MINERS if card.name == name)
    return card.build(card.params(), BuildContext())(_batch(case, dtype), Progress())


def _rows(mask: Bool[Tensor, "a b"]) -> list[list[int]]:
    return [row.nonzero().squeeze(1).tolist() for row in mask]


def _negatives(batch: Batch, params: DistanceParams) -> Float[Tensor, "b b"]:
    return pools.distance_probability(
        pools.distances(batch.embeddings),
        negative_pairs(batch.labels),
        dim=batch.embeddings.shape[1],
        lower_cutoff=params.lower_cutoff,
    )


def distance(case: Case, dtype: torch.dtype) -> Numbers:
    """Return the probabilities of negatives and the pools of positives."""
    batch = _batch(case, dtype)
    return {
        "negative_probability": _negatives(batch, _params(case, DistanceParams)),
        "positive_pool": _rows(pools.partners_or_self(batch.labels)),
        "triplets_per_batch": len(_mine(case, dtype)[0]),
    }


def rho_distance(case: Case, dtype: torch.dtype) -> Numbers:
    """Return pools and probabilities of pulled and of pushed triplets."""
    batch, params = _batch(case, dtype), _params(case, RhoDistanceParams)
    partners = positive_pairs(batch.labels)
    visited = partners.any(1)
    pools_of_partners = _rows(partners[visited])
    return {
        "switch_probability": params.cp,
        "regular": {
            "negative_probability": _negatives(batch, params)[visited],
            "positive_pool": pools_of_partners,
        },
        "switched": {
            "positive": "anchor itself" if _pushes_itself(batch) else "another image",
            "negative_pool_same_class": pools_of_partners,
        },
    }


def _pushes_itself(batch: Batch) -> bool:
    always = RhoDistanceMiner(
        torch.Generator().manual_seed(0), lower_cutoff=0.5, upper_cutoff=None, cp=1.0
    )
    found = always(batch, Progress())
    return torch.equal(found.anchor, found.positive)


def semihard(case: Case, dtype: torch.dtype) -> Numbers:
    """Return [anchor, positive, pool of negatives, whether it is semihard] for every pair."""
    batch, params = _batch(case, dtype), _params(case, SemihardParams)
    apart = pools.distances(batch.embeddings)
    anchor, positive = positive_pairs(batch.labels).nonzero(as_tuple=True)
    pool, found = pools.semihard_pool(
        apart[anchor], apart[anchor, positive], negative_pairs(batch.labels)[anchor], params.margin
    )
    rows = zip(anchor.tolist(), positive.tolist(), _rows(pool), found.tolist(), strict=True)
    return {"candidates": [list(row) for row in rows]}


def softhard(case: Case, dtype: torch.dtype) -> Numbers:
    """Return anchors and both pools."""
    batch = _batch(case, dtype)
    positives, negatives = pools.softhard_pools(pools.distances(batch.embeddings), batch.labels)
    visited = positives.any(1)
    return {
        "anchors": visited.nonzero().squeeze(1),
        "positive_pool": _rows(positives[visited]),
        "negative_pool": _rows(negatives[visited]),
    }


def random(case: Case, dtype: torch.dtype) -> Numbers:
    """Return all triplets and how many are drawn."""
    labels = _batch(case, dtype).labels
    ends = pools.triplet_ends(labels)[1]
    total = int(ends[-1]) if len(ends) else 0
    return {
        "population": torch.stack(pools.numbered_triplets(labels, torch.arange(total)), 1),
        "n_population": total,
        "drawn_without_replacement": len(_mine(case, dtype)[0]),
    }


def npair(case: Case, dtype: torch.dtype) -> Numbers:
    """Return anchors, pools of positives and sets of negatives."""
    return _pairs(case, dtype, positives="positive_pool")


def lifted(case: Case, dtype: torch.dtype) -> Numbers:
    """Return anchors and sets of positives and negatives."""
    return _pairs(case, dtype, positives="positives")


def _pairs(case: Case, dtype: torch.dtype, *, positives: str) -> Numbers:
    found, labels = _mine(case, dtype), _batch(case, dtype).labels
    assert isinstance(found, Pairs), found
    negatives = torch.zeros(len(labels), len(labels), dtype=torch.bool)
    negatives[found.anchor_negative, found.negative] = True
    anchors = found.anchor_positive.unique()
    return {
        "anchors": anchors,
        positives: _rows(positive_pairs(labels)[anchors]),
        "negatives": _rows(negatives[anchors]),
    }


def intra_random(case: Case, dtype: torch.dtype) -> Numbers:
    """Return the probability of every possible triplet."""
    found = _mine(case, dtype)
    members = _rows(pools.class_members(_batch(case, dtype).labels))
    share = 1 / len(members)
    joint = [[*rows, share / len(one) ** 3] for one in members for rows in product(one, repeat=3)]
    return {
        "class_probability": share,
        "within_class": "a,p,n independent uniform with replacement (may coincide)",
        "triplets_per_batch": len(found[0]),
        "reported_name": RANDOM,
        "joint": sorted(joint),
    }


def random_distance(case: Case, dtype: torch.dtype) -> Numbers:
    """Return pools and probabilities after the permutation that the case gives."""
    batch, params = _batch(case, dtype), _params(case, DistanceParams)
    labels = batch.labels[tensor(case.inputs["permutation"])]
    partners = positive_pairs(labels)
    visited = partners.any(1)
    permuted = Batch.of(batch.embeddings, labels)
    return {
        "permuted_labels": labels,
        "positive_pool": _rows(partners[visited]),
        "negative_probability": _negatives(permuted, params)[visited],
        "reported_name": DISTANCE,
    }


def parametric(case: Case, dtype: torch.dtype) -> Numbers:
    """Return the bins, and the pools and probabilities that follow from them."""
    params = _params(case, ParametricParams)
    nodes = pools.support_nodes(params.n_support, params.support_lim)
    weights = pools.bin_weights(params.mode, nodes)
    numbers: dict[str, Any] = {"support": nodes, "sample_distr": weights}
    if not case.inputs:  # a case about the bins alone
        return numbers
    batch = _batch(case, dtype)
    partners, negatives = positive_pairs(batch.labels), negative_pairs(batch.labels)
    visited = partners.any(1)
    likely = pools.bin_probability(
        pools.distances(batch.embeddings),
        negatives,
        nodes=torch.from_numpy(nodes),
        weights=torch.from_numpy(weights),
    )
    return numbers | {
        "positive_pool": _rows(partners[visited]),
        "negative_pool": _rows(negatives[visited]),
        "negative_probability": [
            row[pool] for row, pool in zip(likely[visited], negatives[visited], strict=True)
        ],
    }
