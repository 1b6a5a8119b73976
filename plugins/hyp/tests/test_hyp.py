"""Hyp against its definition, with its head, its sampler and its diagnostic."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from harness_hyp import HypParams, build_hyp
from harness_hyp.hyperbolicity import delta_hyperbolicity, hyperbolicity
from harness_hyp.sampler import ClassPasses
from hypothesis import given
from hypothesis import strategies as st

from harness.api import Batch, BuildContext, HarnessError, LossParts, Progress, SamplerContext
from harness.kit.hyperbolic import PoincareBall, ToBall

DOUBLE = torch.float64


def build(*, seed: int = 0, feature_dim: int | None = 12, **params) -> LossParts:
    context = BuildContext(
        num_classes=5,
        embedding_dim=4,
        feature_dim=feature_dim,
        generator=torch.Generator().manual_seed(seed),
    )
    return build_hyp(HypParams(**params), context)


def points(rows: int, dim: int = 4, *, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return ToBall(0.1)(torch.randn(rows, dim, generator=generator, dtype=DOUBLE))


def loss_of(labels, *, z: torch.Tensor | None = None, **params) -> torch.Tensor:
    z = points(len(labels)) if z is None else z
    return build(**params).objective(Batch.of(z, torch.tensor(labels)), Progress())["loss"]


# --- a literal twin: one pair of places after the other ---------------------------------------


def twin(similarity: list[list[float]], labels: list[int]) -> float:
    place = [labels[:i].count(label) for i, label in enumerate(labels)]
    count = len(labels)
    total = 0.0
    for a in range(max(place) + 1):
        for b in range(max(place) + 1):
            terms = []
            for i in range(count):
                partner = [j for j in range(count) if labels[j] == labels[i] and place[j] == b]
                if place[i] != a or a == b or not partner:
                    continue
                seen = [j for j in range(count) if place[j] in (a, b) and j != i]
                among = sum(math.exp(similarity[i][j]) for j in seen)
                terms.append(-similarity[i][partner[0]] + math.log(among))
            total += sum(terms) / len(terms) if terms else 0
    return total


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param([0, 0, 1, 1, 2, 2], id="two-each"),
        pytest.param([0, 1, 2, 0, 1, 2, 2, 1, 0], id="three-each-mixed"),
        pytest.param([0, 0, 0, 1, 2, 2, 3, 3, 3, 3], id="unequal"),
        pytest.param([4, 4, 4, 4], id="one-class"),
    ],
)
@pytest.mark.parametrize("c", [0.0, 0.1])
def test_loss_is_the_sum_over_pairs_of_places(labels, c: float):
    z = points(len(labels))

    found = loss_of(labels, z=z, c=c, tau=0.7)

    distances = PoincareBall(0.1).distances(z, z)
    similarity = (-distances if c else z @ z.T) / 0.7
    assert found.item() == pytest.approx(twin(similarity.tolist(), labels), rel=1e-10)


def test_by_hand_two_images_of_one_class_have_nothing_to_confuse():
    assert loss_of([3, 3]).item() == pytest.approx(0, abs=1e-12)


def test_mean_divides_by_the_ordered_pairs_of_places():
    labels = [0, 0, 0, 1, 1, 1]

    assert loss_of(labels, reduction="mean").item() == pytest.approx(loss_of(labels).item() / 6)


@given(st.permutations(range(8)), st.integers(0, 1000))
def test_with_two_images_a_class_the_order_of_the_batch_does_not_matter(order, seed):
    labels, z = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]), points(8, seed=seed)

    shuffled = loss_of(labels[order].tolist(), z=z[order])

    torch.testing.assert_close(shuffled, loss_of(labels.tolist(), z=z))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_without_partners_the_loss_is_zero_and_connected(reduction: str):
    z = points(3).requires_grad_()

    loss = loss_of([0, 1, 2], z=z, reduction=reduction)
    loss.backward()

    assert loss.item() == 0
    assert torch.equal(z.grad, torch.zeros_like(z))


def test_gradients_agree_with_finite_differences():
    z = points(6).requires_grad_()

    assert torch.autograd.gradcheck(lambda each: loss_of([0, 0, 1, 1, 1, 2], z=each), (z,))


def test_far_points_do_not_overflow_in_float32():
    z = (points(6, seed=1) * 50).float().requires_grad_()  # outside the ball: drawn to its edge

    loss = loss_of([0, 0, 1, 1, 2, 2], z=z, tau=0.01)
    loss.backward()

    assert loss.isfinite()
    assert z.grad.isfinite().all()


def test_autocast_changes_nothing():
    labels, z = [0, 0, 1, 1], points(4).float()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss_of(labels, z=z)

    assert torch.equal(inside, loss_of(labels, z=z))


# --- head and distance ------------------------------------------------------------------------


def test_head_is_linear_and_then_into_the_ball():
    head = build().head.double()
    features = torch.randn(5, 12, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)

    found = head(features)

    linear = features @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(found, ToBall(0.1, clip_radius=2.3)(linear))


def test_head_starts_orthogonal_without_bias_from_the_given_generator():
    before = torch.get_rng_state()
    head, again, other = (build(seed=seed).head for seed in (0, 0, 1))

    weight = head.linear.weight
    torch.testing.assert_close(weight @ weight.T, torch.eye(4))
    assert not head.linear.bias.any()
    assert torch.equal(weight, again.linear.weight)
    assert not torch.equal(weight, other.linear.weight)
    assert torch.equal(before, torch.get_rng_state())


def test_sphere_gives_unit_vectors_and_leaves_the_distance_to_the_protocol():
    parts = build(c=0.0)

    embeddings = parts.head(torch.randn(5, 12))

    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(5))
    assert parts.distance is None


def test_ranking_distance_is_that_of_the_loss():
    z, parts = points(4), build(tau=0.5)

    loss = parts.objective(Batch.of(z, torch.tensor([0, 0, 1, 1])), Progress())["loss"]

    similarity = -parts.distance(z, z) / 0.5
    assert loss.item() == pytest.approx(twin(similarity.tolist(), [0, 0, 1, 1]))


def test_without_a_known_number_of_features_there_is_no_head():
    assert build(feature_dim=None).head is None


# --- sampler ----------------------------------------------------------------------------------


LABELS = np.repeat(np.arange(6), [5, 1, 9, 5, 5, 5])


def sampler(*, m: int = 2, batch_size: int = 6, class_seed: int | None = 0, **context):
    made = SamplerContext(labels=LABELS, batch_size=batch_size, **context)
    return ClassPasses(made, m=m, class_seed=class_seed)


def test_every_class_comes_once_an_epoch_with_m_rows_of_its_own():
    batches = list(sampler(seed=3).batches(4))

    assert [len(batch) for batch in batches] == [6, 6]
    classes = LABELS[np.array(batches)].reshape(-1, 2)
    assert (classes[:, 0] == classes[:, 1]).all()
    assert sorted(classes[:, 0]) == list(range(6))
    pairs = np.array(batches).reshape(-1, 2)
    drawn_twice = {int(LABELS[a]) for a, b in pairs if a == b}
    assert drawn_twice == {1}  # the class of one image


def test_epochs_depend_on_seed_and_epoch_alone():
    used, fresh = sampler(seed=7), sampler(seed=7)
    list(used.batches(0))

    assert list(used.batches(5)) == list(fresh.batches(5))
    assert list(fresh.batches(5)) != list(fresh.batches(6))
    assert list(fresh.batches(5)) != list(sampler(seed=8).batches(5))


def test_class_order_is_published_unless_it_follows_the_seed():
    order = [sampler(seed=seed).class_order(2) for seed in range(3)]
    own = [sampler(seed=seed, class_seed=None).class_order(2) for seed in range(3)]

    published = torch.randperm(6, generator=torch.Generator().manual_seed(2)).tolist()
    assert order == [published] * 3
    assert len({tuple(each) for each in own}) > 1


def test_a_number_of_batches_runs_through_passes():
    whole = [batch for epoch in range(3) for batch in sampler().batches(epoch)]

    windows = [batch for epoch in range(2) for batch in sampler(iterations=3).batches(epoch)]

    assert windows == whole


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        pytest.param({"m": 4}, "cannot hold exactly 4 images", id="not-a-multiple"),
        pytest.param({"batch_size": 14}, "needs 7 classes", id="too-few-classes"),
    ],
)
def test_batches_that_cannot_be_filled_are_refused(settings, problem):
    with pytest.raises(HarnessError, match=problem):
        sampler(**settings)


# --- diagnostic -------------------------------------------------------------------------------


def metric(values: torch.Tensor, *, num_points: int = 500, num_draws: int = 3) -> float:
    side = SimpleNamespace(values=values, sample_ids=torch.arange(len(values)))
    ranking = SimpleNamespace(query=side)
    return delta_hyperbolicity(ranking, num_points=num_points, num_draws=num_draws)


def test_delta_follows_its_definition():
    x = points(7)
    d = torch.cdist(x, x).tolist()
    gromov = [[(d[a][0] + d[b][0] - d[a][b]) / 2 for b in range(7)] for a in range(7)]
    delta = max(
        min(gromov[a][k], gromov[k][b]) - gromov[a][b]
        for a in range(7)
        for b in range(7)
        for k in range(7)
    )

    found = hyperbolicity(x)

    assert found.delta.item() == pytest.approx(delta)
    assert metric(x) == pytest.approx(2 * delta / max(map(max, d)))


def test_points_on_a_line_are_a_tree_and_equal_points_too():
    line = torch.tensor([[0.0], [1.0], [4.0], [-2.0]])

    assert metric(line) == 0
    assert metric(torch.ones(4, 3)) == 0


def test_corners_of_a_square_are_no_tree():
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])

    # opposite corners at sqrt(2): delta = sqrt(2) - 1 for this base
    assert metric(square) == pytest.approx(2 * (math.sqrt(2) - 1) / math.sqrt(2), rel=1e-6)


def test_draws_are_the_same_each_time():
    x = points(60, 3)

    assert metric(x, num_points=20) == metric(x, num_points=20)
    assert 0 < metric(x, num_points=20) <= 1
