"""The ten miners: what they draw, how often, and on batches they cannot use."""

import pytest
import torch
from harness_rdml import miner_pools as pools
from harness_rdml.miner_cards import MINERS, DistanceParams, ParametricParams
from harness_rdml.miners import RandomMiner, RhoDistanceMiner, choose
from pydantic import ValidationError
from torch.nn.functional import normalize

from harness.api import Batch, BuildContext, MinerSpec, Pairs, Progress, Triplets

DRAWS = 20_000
every_miner = pytest.mark.parametrize("card", MINERS, ids=lambda card: card.name)
FREE_OF_CLASSES = {"rdml_rho_distance", "rdml_random_distance", "rdml_intra_random"}
of_classes = pytest.mark.parametrize(
    "card", [c for c in MINERS if c.name not in FREE_OF_CLASSES], ids=lambda card: card.name
)


def batch(labels: torch.Tensor, dtype: torch.dtype = torch.float32) -> Batch:
    generator = torch.Generator().manual_seed(5)
    points = torch.randn(len(labels), 6, generator=generator, dtype=torch.float64)
    return Batch.of(normalize(points, dim=1).to(dtype).requires_grad_(), labels)


def mine(card: MinerSpec, data: Batch, seed: int = 0) -> Triplets | Pairs:
    generator = torch.Generator().manual_seed(seed)
    return card.build(card.params(), BuildContext(generator=generator))(data, Progress())


def parts(found: Triplets | Pairs) -> tuple[torch.Tensor, ...]:
    if isinstance(found, Triplets):
        return found.anchor, found.positive, found.anchor, found.negative
    return tuple(found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@of_classes
def test_positives_share_the_class_and_negatives_do_not(card, dtype):
    data = batch(torch.arange(4).repeat_interleave(3), dtype)

    found = mine(card, data)

    assert isinstance(found, Triplets if card.gives == "triplets" else Pairs)
    anchor, positive, other_anchor, negative = parts(found)
    assert len(anchor) > 0
    assert (data.labels[anchor] == data.labels[positive]).all()
    assert (anchor != positive).all()
    assert (data.labels[other_anchor] != data.labels[negative]).all()


@every_miner
def test_equal_generators_give_equal_tuples(card):
    data = batch(torch.arange(8).repeat_interleave(4))

    first, again, other = mine(card, data), mine(card, data), mine(card, data, seed=1)

    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    deterministic = card.name == "rdml_lifted"
    assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True)) == deterministic


@every_miner
@pytest.mark.parametrize(
    "labels",
    [
        pytest.param([0, 0, 0, 0], id="one-class"),
        pytest.param([0, 1, 2, 3], id="singletons"),
        pytest.param([0, 0, 1], id="one-alone"),
        pytest.param([0], id="one-image"),
    ],
)
def test_degenerate_batches_give_valid_tuples(card, labels):
    data = batch(torch.tensor(labels))

    found = mine(card, data)

    assert all(index.dtype == torch.int64 for index in found)
    assert all(((index >= 0) & (index < len(labels))).all() for index in found)
    anchor, positive, other_anchor, negative = parts(found)
    assert len(anchor) == len(positive)
    assert len(other_anchor) == len(negative)


@of_classes
def test_a_batch_of_one_class_has_no_negatives(card):
    found = mine(card, batch(torch.zeros(4, dtype=torch.int64)))

    assert len(parts(found)[3]) == 0


@every_miner
def test_at_most_one_triplet_for_each_image(card):
    data = batch(torch.arange(56).repeat_interleave(2))

    found = mine(card, data)

    assert len(found[0]) == 112
    assert not any(index.requires_grad for index in found)


def test_columns_are_drawn_in_proportion_to_their_weights():
    weights = torch.tensor([0.5, 0.0, 3.0, 1.5])
    share = weights / weights.sum()

    drawn = choose(weights.expand(DRAWS, -1), torch.Generator().manual_seed(0))

    found = torch.bincount(drawn, minlength=4) / DRAWS
    deviation = (share * (1 - share) / DRAWS).sqrt()
    assert ((found - share).abs() <= 5 * deviation).all()
    assert found[1] == 0


def test_random_triplets_are_distinct_and_all_of_them_if_they_are_few():
    few = batch(torch.tensor([0, 0, 1]))  # 2 triplets for 3 images

    found = RandomMiner(torch.Generator().manual_seed(0))(few, Progress())

    rows = set(zip(*(index.tolist() for index in found), strict=True))
    assert rows == {(0, 1, 2), (1, 0, 2)}


def test_every_random_triplet_is_equally_likely():
    labels = torch.tensor([0, 0, 1, 1])
    data = batch(labels)
    miner = RandomMiner(torch.Generator().manual_seed(2))
    rounds = 2000

    counts = torch.zeros(4, 4, 4)
    for _ in range(rounds):
        found = miner(data, Progress())
        assert len(set(zip(*(index.tolist() for index in found), strict=True))) == 4
        counts[found] += 1

    seen = counts[counts > 0] / rounds  # 8 triplets, each in half of the rounds
    assert len(seen) == 8
    assert ((seen - 0.5).abs() <= 5 * (0.25 / rounds) ** 0.5).all()


def test_rho_distance_pushes_its_own_class_with_probability_cp():
    data = batch(torch.arange(3).repeat_interleave(3))
    miner = RhoDistanceMiner(
        torch.Generator().manual_seed(0), lower_cutoff=0.5, upper_cutoff=None, cp=0.3
    )
    rounds = 500

    found = [miner(data, Progress()) for _ in range(rounds)]

    anchor, positive, negative = (torch.cat(index) for index in zip(*found, strict=True))
    pushed = anchor == positive
    same = data.labels[anchor] == data.labels[negative]
    assert torch.equal(pushed, same)
    assert (anchor[pushed] != negative[pushed]).all()
    share = float(pushed.float().mean())
    assert abs(share - 0.3) <= 5 * (0.21 / (rounds * 9)) ** 0.5


def test_semihard_mining_can_compare_squared_distances():
    card = next(card for card in MINERS if card.name == "rdml_semihard")
    angles = torch.tensor([0.0, 90.0, 100.0, 180.0]).deg2rad()
    data = Batch.of(torch.stack([angles.cos(), angles.sin()], 1), torch.tensor([0, 0, 1, 2]))
    # from 0 degrees: sqrt(2) to the positive, 1.532 and 2 to the negatives; squared 2, 2.347, 4

    plain = card.build(card.params(margin=0.2), BuildContext())
    squared = card.build(card.params(margin=0.2, squared=True), BuildContext())

    drawn = [
        {int(miner(data, Progress()).negative[0]) for _ in range(40)} for miner in (plain, squared)
    ]
    assert drawn == [{2}, {2, 3}]


def test_a_far_negative_is_never_drawn_beyond_the_upper_cutoff():
    card = next(card for card in MINERS if card.name == "rdml_distance")
    angles = torch.tensor([0.0, 20.0, 60.0, 180.0]).deg2rad()
    data = Batch.of(torch.stack([angles.cos(), angles.sin()], 1), torch.tensor([0, 0, 1, 2]))
    intended = card.build(card.params(upper_cutoff=1.4), BuildContext())

    found = [intended(data, Progress()) for _ in range(40)]

    assert {int(one.negative[0]) for one in found} == {2}


def test_bins_are_state_and_decide_what_is_drawn():
    card = next(card for card in MINERS if card.name == "rdml_parametric")
    angles = torch.tensor([0.0, 20.0, 40.0, 170.0]).deg2rad()
    data = Batch.of(torch.stack([angles.cos(), angles.sin()], 1), torch.tensor([0, 0, 1, 2]))
    miner = card.build(card.params(n_support=3), BuildContext())

    state = miner.state_dict()
    state["weights"] = torch.tensor([0.0, 1.0], dtype=torch.float64)  # far negatives only
    miner.load_state_dict(state)

    found = [miner(data, Progress()) for _ in range(40)]
    assert {int(one.negative[0]) for one in found} == {3}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        pytest.param(lambda: DistanceParams(upper_cutoff=0.4), "not above", id="cutoffs"),
        pytest.param(lambda: ParametricParams(support_lim=(1, 1)), "nodes rise", id="support"),
    ],
)
def test_parameters_that_contradict_are_refused(build, message):
    with pytest.raises(ValidationError, match=message):
        build()


def test_distances_have_no_gradient():
    data = batch(torch.arange(4))

    assert not pools.distances(data.embeddings).requires_grad
