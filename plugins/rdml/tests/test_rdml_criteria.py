"""Criteria by hand: published against intended, learnable weights, degenerate batches, draws."""

import math

import pytest
import torch
from harness_rdml.class_criteria import ScaledCentres, centre_spread
from harness_rdml.criterion_cards import CRITERIA
from harness_rdml.criterion_params import QuadrupletParams
from harness_rdml.pair_criteria import weights_kept
from harness_rdml.separation import reverse_gradient
from harness_rdml.triplet_criteria import fourth_pool, quadruplet_terms

from harness.api import Batch, BuildContext, LossParts, Pairs, Progress, Triplets
from harness.kit.pairs import all_pairs, all_triplets

CARDS = {card.name.removeprefix("rdml_"): card for card in CRITERIA}
every_criterion = pytest.mark.parametrize("name", CARDS)


def build(name: str, *, classes: int = 3, dim: int = 2, seed: int = 0, **params) -> LossParts:
    context = BuildContext(classes, dim, generator=torch.Generator().manual_seed(seed))
    parts = CARDS[name].build(CARDS[name].params(**params), context)
    parts.objective.double()
    return parts


def at(*degrees: float, labels: tuple[int, ...], tuples=None) -> Batch:
    """Return points on the unit circle."""
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    points = torch.stack([angles.cos(), angles.sin()], dim=1)
    return Batch.of(points.requires_grad_(), torch.tensor(labels), tuples=tuples)


def terms(parts: LossParts, data: Batch) -> dict[str, torch.Tensor]:
    found = parts.objective(data, Progress())
    return found if isinstance(found, dict) else {"loss": found}


def loss_of(parts: LossParts, data: Batch) -> torch.Tensor:
    return terms(parts, data)["loss"]


def mined(data: Batch, name: str) -> Batch:
    """Return the batch with all tuples of the sort that a criterion takes."""
    makers = {"triplets": all_triplets, "pairs": all_pairs}
    takes = CARDS[name].takes
    tuples = makers[takes[0]](data.labels) if takes else None
    return Batch.of(data.embeddings, data.labels, tuples=tuples)


def triplets(*rows: tuple[int, int, int]) -> Triplets:
    return Triplets(*torch.tensor(rows).T)


# --- by hand ------------------------------------------------------------------------------------

RIGHT_ANGLE = math.sqrt(2)  # distance of unit vectors at 90 degrees
SIXTY = 1.0  # and at 60


def test_margin_divides_by_triplets_with_any_active_hinge():
    data = at(0, 90, 60, 180, labels=(0, 0, 1, 2), tuples=triplets((0, 1, 2), (0, 1, 3)))

    loss = loss_of(build("margin", beta=1.2, learn_beta=False), data)

    positive = RIGHT_ANGLE - 1.2 + 0.2  # active in both triplets
    negative = 1.2 - SIXTY + 0.2  # active in the first one only: 3 hinges, 2 triplets
    assert loss.item() == pytest.approx((2 * positive + negative) / 2, abs=1e-7)


def test_margin_penalty_is_the_sum_of_the_boundaries_of_the_anchors():
    data = at(0, 90, 60, 180, labels=(0, 0, 1, 2), tuples=triplets((0, 1, 2), (0, 1, 3)))

    with_penalty = loss_of(build("margin", nu=0.5), data)

    assert (with_penalty - loss_of(build("margin"), data)).item() == pytest.approx(0.5 * 2 * 1.2)


def test_quadruplet_is_averaged_over_a_grid_as_published_and_over_triplets_as_intended():
    data = at(0, 60, 90, 180, labels=(0, 0, 1, 2), tuples=triplets((0, 1, 2), (0, 1, 3)))
    fourth, exists = torch.tensor([3, 2]), torch.ones(2, dtype=torch.bool)
    margins = {"margin_alpha_1": 0, "margin_alpha_2": 1}

    published, intended = (
        quadruplet_terms(data, fourth, exists, QuadrupletParams(variant=variant, **margins))
        for variant in ("published", "intended")
    )

    # |a - p| is 1; a negative is at a right angle to its own fourth point, and on the other's
    own, other = 1 - RIGHT_ANGLE + 1, 1 - 0 + 1
    assert intended["quadruplet_term"].item() == pytest.approx(own)
    assert published["quadruplet_term"].item() == pytest.approx((2 * own + 2 * other) / 4)
    assert published["triplet_term"].item() == 0


def test_intended_fourth_point_is_of_a_third_class():
    labels = torch.tensor([0, 0, 1, 1, 2])
    chosen = triplets((0, 1, 2), (4, 4, 0))
    data = Batch.of(torch.zeros(5, 2), labels, tuples=chosen)

    pool = fourth_pool(data, chosen, QuadrupletParams(variant="intended"))

    assert pool.int().tolist() == [[0, 0, 0, 0, 1], [0, 0, 1, 1, 0]]


def test_published_fourth_point_is_a_row_whose_number_is_that_of_a_triplet_with_another_negative():
    chosen = triplets((0, 1, 2), (1, 0, 2), (2, 3, 0))
    data = Batch.of(torch.zeros(4, 2), torch.tensor([0, 0, 1, 1]), tuples=chosen)

    pool = fourth_pool(data, chosen, QuadrupletParams())

    assert pool.int().tolist() == [[0, 0, 1, 0], [0, 0, 1, 0], [1, 1, 0, 0]]


def test_arcface_flattens_negative_cosines_as_published_and_not_as_intended():
    data = at(0, labels=(0,))
    state = {"class_map": torch.tensor([[1.0, 1.0], [-1.0, 1.0], [-1.0, 0.1]])}
    slopes: list[torch.Tensor] = []

    for variant in ("published", "intended"):
        parts = build("arcface", variant=variant, feature_scale=1, angular_margin=0)
        parts.objective.load_state_dict(state)
        loss_of(parts, data).backward()
        slopes.append(parts.objective.class_map.grad)

    assert slopes[0][1:].abs().max() == 0
    assert slopes[1][1:].abs().min() > 0
    # cosines are 0.707, 0 and 0, up to the clamp
    logits = torch.tensor([math.sqrt(0.5), 0, 0], dtype=torch.float64)
    published = loss_of(build_with("arcface", state, feature_scale=1, angular_margin=0), data)
    assert published.item() == pytest.approx(-logits.log_softmax(0)[0].item(), abs=1e-9)


def build_with(name: str, state: dict[str, torch.Tensor], **params) -> LossParts:
    parts = build(name, **params)
    parts.objective.load_state_dict(state)
    return parts


def test_intended_arcface_never_rewards_an_angle_that_the_margin_turns_past_pi():
    costs = []
    for degrees in (140, 150, 160, 170, 179):
        state = {"class_map": torch.tensor([[1.0, 0.0], [0.0, -1.0], [0.0, -1.0]])}
        parts = build_with("arcface", state, variant="intended", angular_margin=0.6)
        costs.append(loss_of(parts, at(degrees, labels=(0,))).item())

    assert costs == sorted(costs)


def test_histogram_keeps_all_mass_as_intended_and_for_widths_that_are_powers_of_two():
    kept, powers = weights_kept(11, exact=False), weights_kept(65, exact=False)

    assert [r for r, ok in enumerate(kept.upper[:-1]) if not ok] == [2, 3, 4, 5, 6, 7]
    assert all(powers.lower)
    assert all(powers.upper[:-1])


def test_histogram_counts_the_chance_of_a_negative_being_more_similar():
    apart = at(0, 0, 90, 90, labels=(0, 0, 1, 1))
    mixed = at(0, 90, 0, 90, labels=(0, 0, 1, 1))

    assert loss_of(build("histogram"), apart).item() == 0
    # a positive pair has similarity 0; of four negative pairs two have 1 and two 0, which counts
    assert loss_of(build("histogram"), mixed).item() == pytest.approx(1)


def test_angular_clamps_the_exponents_of_its_npair_term_only_as_published():
    far = at(0, 180, 0, labels=(0, 0, 1))
    data = Batch.of(10 * far.embeddings, far.labels, tuples=all_pairs(far.labels))

    published = terms(build("angular", alpha=45), data)
    intended = terms(build("angular", alpha=45, variant="intended"), data)

    # from 0 degrees: a.n - a.p = 100 + 100; from 180: -100 + 100
    assert published["npair_term"].item() == pytest.approx((50 + math.log(2)) / 2)
    assert intended["npair_term"].item() == pytest.approx((200 + math.log(2)) / 2)
    assert published["angular_term"].item() == intended["angular_term"].item()


def test_npair_takes_anchors_with_different_numbers_of_negatives():
    pairs = Pairs(*(torch.tensor(index) for index in ([0, 1], [1, 0], [0, 0, 1], [2, 3, 3])))
    data = at(0, 60, 90, 180, labels=(0, 0, 1, 2), tuples=pairs)

    loss = loss_of(build("npair", l2=0), data)

    # cosines: 0 to 1 one half; 0 to 2 and 3 zero and -1; 1 to 3 minus one half
    first = math.log(1 + math.exp(0 - 0.5) + math.exp(-1 - 0.5))
    second = math.log(1 + math.exp(-0.5 - 0.5))
    assert loss.item() == pytest.approx((first + second) / 2)


def test_lifted_uses_mined_pairs_or_all_pairs():
    data = at(0, 60, 90, 180, labels=(0, 0, 1, 1))

    everything = loss_of(build("lifted"), data)

    assert loss_of(build("lifted"), mined(data, "lifted")).item() == everything.item()
    one = Pairs(*(torch.tensor([index]) for index in (0, 1, 0, 2)))
    alone = Batch.of(data.embeddings, data.labels, tuples=one)
    # |0 - 60| + (1 - |0 - 90|), and the mean length is 1
    assert loss_of(build("lifted"), alone).item() == pytest.approx(
        SIXTY + 1 - RIGHT_ANGLE + 0.005, abs=1e-5
    )


def test_snr_without_an_active_triplet_is_zero_or_nan_as_published():
    far = Batch.of(
        torch.tensor([[0.0, 1.0], [0.0, 1.1], [0.0, -9.0]]).requires_grad_(),
        torch.tensor([0, 0, 1]),
        tuples=triplets((0, 1, 2)),
    )

    assert loss_of(build("snr", reg_lambda=0), far).item() == 0
    assert loss_of(build("snr", fail_as_published=True), far).isnan()


def test_spread_of_one_centre_or_of_centres_out_of_reach_is_zero_with_a_finite_gradient():
    long = torch.full((4, 2), 3.0, requires_grad=True)  # 2 - 2 * 36 has no root
    centres = ScaledCentres(long, torch.ones(4), torch.ones(2))

    spread = centre_spread(centres, 2)

    assert (spread.item(), centre_spread(centres, 1).item()) == (0, 0)
    assert torch.autograd.grad(spread, long)[0].abs().max() == 0


def test_softtriplet_weighs_over_classes_as_published_and_over_centres_as_intended():
    data = at(0, labels=(0,))
    centres = torch.tensor([[1.0, 0.0, 0.0, -1.0], [0.0, 1.0, 1.0, 0.0]])  # 0, 90 | 90, 180
    common = {"classes": 2, "gamma": 1, "lam": 1, "margin_delta": 0, "reg_weight": 0}
    state = {"intra_class_centroids": centres.double()}

    found = [
        loss_of(build_with("softtriplet", state, variant=variant, **common), data).item()
        for variant in ("published", "intended")
    ]

    share = math.e / (1 + math.e)  # of 1 against 0
    # over centres: (1, 0) and (0, -1); scores share and -(1 - share)
    assert found[1] == pytest.approx(math.log(1 + math.exp(-(1 - share) - share)))
    # rows have length sqrt 2; over classes at each centre: (s, 0) and (0, -s)
    s = math.sqrt(0.5)
    part = math.exp(s) / (1 + math.exp(s))
    assert found[0] == pytest.approx(math.log(1 + math.exp(-s * (1 - part) - s * part)))


def test_reversal_changes_the_sign_of_a_gradient_and_nothing_else():
    values = torch.tensor([0.1, -3.0, 1e-30], requires_grad=True)

    reversed_ = reverse_gradient(values)

    assert torch.equal(reversed_, values)
    assert torch.autograd.grad(reversed_.sum(), values)[0].tolist() == [-1, -1, -1]
