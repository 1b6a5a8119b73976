"""HIER against its definition, with its pools, its noise, its metric losses and its sampler."""

import math

import numpy as np
import pytest
import torch
from harness_hier import METRIC_CARDS, HierParams, build_hier
from harness_hier.objective import HierDraws, HierObjective
from harness_hier.regulariser import (
    Draws,
    Noise,
    Triplet,
    ancestor_term,
    anchors,
    draw_triplets,
    gumbel_noise,
    related_points,
)
from harness_hier.sampler import ImagesPerClass
from harness_hier.schedule import step_factors

import harness
from harness.api import Batch, BuildContext, HarnessError, LossParts, Progress, SamplerContext
from harness.kit.hyperbolic import PoincareBall, ToBall
from harness.protocol import StepSchedule
from harness.training.optimizer import scheduled

DOUBLE = torch.float64
LABELS = (0, 0, 1, 1, 2, 2, 3, 3)


def build(*, seed: int = 0, feature_dim: int | None = 12, **params) -> LossParts:
    context = BuildContext(
        num_classes=5,
        embedding_dim=4,
        feature_dim=feature_dim,
        generator=torch.Generator().manual_seed(seed),
    )
    return build_hier(HierParams(**{"num_proxies": 9, "topk": 4, **params}), context)


def objective(**settings) -> HierObjective:
    built = build(**settings).objective.double()
    assert isinstance(built, HierObjective)
    return built


def points(rows: int, dim: int = 4, *, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return ToBall(0.1)(torch.randn(rows, dim, generator=generator, dtype=DOUBLE))


def batch(labels=LABELS, *, seed: int = 0) -> Batch:
    return Batch.of(points(len(labels), seed=seed).requires_grad_(), torch.tensor(labels))


def triplets_of(rows: list[tuple[int, int, int]]) -> Triplet:
    first, second, third = torch.tensor(rows).T
    return Triplet(first, second, third, torch.ones(len(rows), dtype=torch.bool))


def given(triplets: Triplet, noise: Noise) -> Draws:
    return Draws(triplets, lambda part: Noise(noise.pair[part], noise.triple[part]))


# --- a literal twin of one term ----------------------------------------------------------------


def twin(distances, triplets, noise, *, tau: float, margin: float) -> float:
    total = 0.0
    proxies = range(len(distances[0]))
    for number, (i, j, k) in enumerate(triplets):
        pair = [max(distances[i][p], distances[j][p]) for p in proxies]
        triple = [max(pair[p], distances[k][p]) for p in proxies]
        w = max(proxies, key=lambda p: noise[0][number][p] - pair[p] / tau)
        v = max(proxies, key=lambda p: noise[1][number][p] - triple[p] / tau)
        if w != v:
            total += max(0, distances[i][w] - distances[i][v] + margin)
            total += max(0, distances[j][w] - distances[j][v] + margin)
            total += max(0, distances[k][v] - distances[k][w] + margin)
    return total / len(triplets)


ROWS = [(0, 1, 5), (2, 3, 2), (4, 5, 0), (6, 7, 1), (1, 0, 3), (7, 6, 4)]


def noise_for(rows: int, proxies: int, seed: int = 0) -> Noise:
    generator = torch.Generator().manual_seed(seed)
    draw = gumbel_noise(rows, proxies, like=torch.ones(1, dtype=DOUBLE), generator=generator)
    return draw(slice(0, rows))


@pytest.mark.parametrize("margin", [0.1, 2.0])
def test_term_follows_its_definition(margin: float):
    distances = PoincareBall(0.1).distances(points(8), points(9, seed=1))
    noise = noise_for(len(ROWS), 9)

    found = ancestor_term(distances, given(triplets_of(ROWS), noise), tau=0.3, margin=margin)

    plain = [each.tolist() for each in noise]
    expected = twin(distances.tolist(), ROWS, plain, tau=0.3, margin=margin)
    assert found.item() == pytest.approx(expected)
    assert expected > 0


def test_parts_of_any_size_add_up_to_the_same_value_and_gradient(monkeypatch):
    distances = PoincareBall(0.1).distances(points(8), points(9, seed=1)).requires_grad_()
    draws = given(triplets_of(ROWS), noise_for(len(ROWS), 9))

    def result():
        loss = ancestor_term(distances, draws, tau=0.3, margin=1.0)
        return loss, torch.autograd.grad(loss, distances)[0]

    whole = result()
    monkeypatch.setattr("harness_hier.regulariser._AT_ONCE", 9 * 2)
    parts = result()

    torch.testing.assert_close(parts[0], whole[0])
    torch.testing.assert_close(parts[1], whole[1])
    assert whole[1].abs().max() > 0


def test_gradient_is_that_of_a_straight_through_softmax():
    distances = PoincareBall(0.1).distances(points(8), points(9, seed=1)).requires_grad_()
    noise, triplets = noise_for(len(ROWS), 9), triplets_of(ROWS)

    def one_hot(logits):
        soft = logits.softmax(1)
        hard = torch.nn.functional.one_hot(logits.argmax(1), 9).to(DOUBLE)
        return (hard - soft).detach() + soft

    i, j, k = (distances[index] for index in triplets[:3])
    pair = torch.maximum(i, j)
    w = one_hot(noise.pair - pair / 0.3)
    v = one_hot(noise.triple - torch.maximum(pair, k) / 0.3)
    terms = [(i, w, v), (j, w, v), (k, v, w)]
    cost = sum(((x * a).sum(1) - (x * b).sum(1) + 1).relu() for x, a, b in terms)
    literal = (cost * (w.argmax(1) != v.argmax(1))).mean()
    (expected,) = torch.autograd.grad(literal, distances)

    loss = ancestor_term(distances, given(triplets, noise), tau=0.3, margin=1.0)
    (found,) = torch.autograd.grad(loss, distances)

    torch.testing.assert_close(loss, literal)
    torch.testing.assert_close(found, expected)


# --- pools and draws ----------------------------------------------------------------------------


def test_related_points_are_each_others_neighbours():
    similarities = points(10) @ points(10).T
    similarities.fill_diagonal_(100)

    found = related_points(similarities, topk=4)

    nearest = [set(row.argsort(descending=True)[:4].tolist()) for row in similarities]
    expected = [
        [i != j and j in nearest[i] and i in nearest[j] for j in range(10)] for i in range(10)
    ]
    assert found.tolist() == expected
    assert anchors(found).tolist() == [sum(row) > 1 for row in expected]


def test_topk_beyond_the_batch_relates_everything():
    assert related_points(points(5) @ points(5).T, topk=50).sum() == 5 * 4


def test_triplets_come_from_the_pools_evenly():
    related = related_points(
        torch.rand(12, 12, generator=torch.Generator().manual_seed(0)), topk=9
    )
    generator = torch.Generator().manual_seed(1)

    first, second, third, counts = draw_triplets(related, per_anchor=3000, generator=generator)

    kept = anchors(related)
    assert torch.equal(counts, kept.repeat_interleave(3000))
    assert related[first[counts], second[counts]].all()
    assert not related[first, third].any()
    row = int(kept.nonzero()[0])
    for pool, drawn in ((related[row], second), (~related[row], third)):
        share = torch.bincount(drawn[first == row], minlength=12)[pool] / 3000
        assert ((share - 1 / pool.sum()).abs() < 0.04).all()
    assert (third[first == row] == row).any()  # a point is one of its own others, as published


def test_noise_is_standard_gumbel():
    pair, triple = noise_for(400, 50)

    for noise in (pair, triple):
        assert noise.isfinite().all()
        assert noise.mean().item() == pytest.approx(0.5772, abs=0.03)
        assert noise.var().item() == pytest.approx(math.pi**2 / 6, rel=0.05)
    assert not torch.equal(pair, triple)


def test_no_anchor_gives_zero_that_is_connected():
    data = batch((0, 1, 2))

    terms = objective(topk=2, num_proxies=2)(data, Progress())
    terms["hier_loss"].backward()

    assert terms["hier_data"].item() == 0
    assert torch.equal(data.embeddings.grad, torch.zeros_like(data.embeddings))


# --- the whole loss -----------------------------------------------------------------------------


def test_loss_weighs_its_terms():
    terms = objective(lambda1=0.3, lambda2=0.7)(batch(), Progress())

    assert terms["hier_loss"] == terms["hier_data"] + terms["hier_proxies"]
    expected = 0.3 * terms["metric_loss"] + 0.7 * terms["hier_loss"]
    torch.testing.assert_close(terms["loss"], expected)


def test_equal_generators_give_equal_steps_and_each_step_draws_anew():
    one, same = objective(seed=4), objective(seed=4)

    steps = [one(batch(), Progress())["hier_loss"].item() for _ in range(3)]

    assert steps == [same(batch(), Progress())["hier_loss"].item() for _ in range(3)]
    assert len(set(steps)) == 3


def test_given_draws_replace_the_generator():
    loss = objective()
    draws = HierDraws(
        given(triplets_of(ROWS), noise_for(6, 9)), given(triplets_of(ROWS), noise_for(6, 9, 1))
    )

    one, other = (loss(batch(), Progress(), draws)["loss"] for _ in range(2))

    assert torch.equal(one, other)


def test_state_names_are_as_documented_and_survive_a_round_trip():
    one, other = objective(seed=1), objective(seed=2)

    other.load_state_dict(one.state_dict())

    assert {name: tuple(value.shape) for name, value in one.state_dict().items()} == {
        "hier_proxies": (9, 4),
        "metric.proxies": (5, 4),
    }
    draws = HierDraws(*(given(triplets_of(ROWS), noise_for(6, 9, seed)) for seed in (0, 1)))
    assert torch.equal(
        one(batch(), Progress(), draws)["loss"], other(batch(), Progress(), draws)["loss"]
    )


def test_groups_have_the_published_factors():
    parts = build()

    groups = {group.name: group for group in parts.param_groups}

    assert {name: group.lr_scale for name, group in groups.items()} == {
        "hier_proxies": 50,
        "metric": 10_000,
    }
    assert {id(p) for group in groups.values() for p in group.params} == {
        id(p) for p in parts.objective.parameters()
    }


def test_proxies_start_near_nine_tenths_of_the_radius():
    context = BuildContext(num_classes=3, embedding_dim=512, generator=torch.Generator())
    proxies = build_hier(HierParams(), context).objective.get_parameter("hier_proxies")

    assert proxies.norm(dim=1).mean().item() == pytest.approx(0.9 * 2.3, rel=0.01)


def test_head_is_layer_norm_linear_ball():
    head = build().head.double()
    x = torch.randn(5, 12, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)

    found = head(x)

    normed = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
    linear = normed @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(found, ToBall(0.1)(linear))


def test_autocast_changes_nothing():
    loss, data = objective(), batch()
    draws = HierDraws(*(given(triplets_of(ROWS), noise_for(6, 9, seed)) for seed in (0, 1)))

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(data, Progress(), draws)["loss"]

    assert torch.equal(inside, loss(data, Progress(), draws)["loss"])


def test_no_tensor_is_as_large_as_triplets_times_proxies(monkeypatch):
    monkeypatch.setattr("harness_hier.regulariser._AT_ONCE", 64 * 10)
    context = BuildContext(num_classes=10, embedding_dim=16, generator=torch.Generator())
    loss = build_hier(HierParams(num_proxies=64, triplets_per_anchor=40), context).objective
    data = Batch.of(points(40, 16).float().requires_grad_(), torch.arange(40) % 10)
    sizes: list[int] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, note):
        loss(data, Progress())["loss"].backward()

    assert max(sizes) <= 64 * 64  # distances among proxies; triplets by proxies would be 163,840


# --- metric losses ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*METRIC_CARDS, "hist"])
def test_any_registered_loss_can_be_the_metric(name: str):
    params = {"metric": name, "num_proxies": 9, "topk": 4}
    parts = harness.build("loss", "hier", params, num_classes=5, embedding_dim=4)

    terms = parts.objective(batch_of_float(), Progress())

    terms["loss"].backward()
    assert terms["loss"].isfinite()
    assert all(p.grad is not None for p in parts.objective.parameters())


def batch_of_float() -> Batch:
    data = batch()
    return Batch.of(data.embeddings.detach().float().requires_grad_(), data.labels)


def test_parameters_of_the_metric_loss_are_passed_on_and_checked():
    parts = build(metric="hier_ms", metric_params={"alpha": 7})
    assert parts.objective.metric.alpha == 7

    with pytest.raises(HarnessError, match="nonsense"):
        harness.build("loss", "hier", {"metric_params": {"nonsense": 1}})


def test_curvature_is_passed_on_to_losses_in_the_ball():
    assert build(metric="hier_supcon", c=0.5).objective.metric.c == 0.5


def test_groups_of_the_metric_loss_are_kept():
    parts = harness.build("loss", "hier", {"metric": "hist"}, num_classes=5, embedding_dim=4)

    rates = {group.name: group.lr for group in parts.param_groups}

    assert rates == {"hier_proxies": None, "distributions": 0.1, "network": None}


def test_unknown_metric_loss_is_refused():
    with pytest.raises(HarnessError, match="hier_paa"):
        harness.build("loss", "hier", {"metric": "hier_paa"})
    with pytest.raises(HarnessError, match="outside a registry"):
        build(metric="hier_paa")


# --- sampler and schedule -----------------------------------------------------------------------


TARGETS = np.array([3, 3, 0, 0, 0, 2, 2, 1, 1, 1, 4, 4])


def sampler(*, m: int = 2, batch_size: int = 6, published: bool = True, **context):
    made = SamplerContext(labels=TARGETS, batch_size=batch_size, **context)
    return ImagesPerClass(made, m=m, published_classes=published)


def test_batches_hold_m_rows_of_distinct_classes():
    batches = list(sampler(seed=1, iterations=20).batches(0))

    assert len(batches) == 20
    for rows in batches:
        classes = TARGETS[rows].reshape(-1, 2)
        assert (classes[:, 0] == classes[:, 1]).all()
        assert len(set(classes[:, 0])) == 3
    assert any(len(set(rows)) < 6 for rows in batches)  # with replacement, as published


def test_epochs_depend_on_seed_and_epoch_alone():
    used, fresh = sampler(seed=7), sampler(seed=7)
    list(used.batches(0))

    assert list(used.batches(3)) == list(fresh.batches(3))
    assert list(sampler(seed=8).batches(3)) != list(fresh.batches(3))


def test_classes_are_published_unless_they_follow_the_seed():
    def classes(**settings):
        return [
            TARGETS[rows[::2]].tolist() for rows in sampler(iterations=9, **settings).batches(1)
        ]

    legacy = [
        np.random.RandomState(10_000 * b + 1).choice([3, 0, 2, 1, 4], 3, replace=False)
        for b in range(9)
    ]
    assert classes(seed=0) == classes(seed=1) == [each.tolist() for each in legacy]
    assert classes(seed=0, published=False) != classes(seed=1, published=False)


def test_too_few_classes_repeat():
    (rows, *_) = sampler(batch_size=12).batches(0)

    assert len(rows) == 12


def test_a_batch_that_m_does_not_divide_is_refused():
    with pytest.raises(HarnessError, match="cannot hold exactly 4 images"):
        sampler(m=4)


def test_step_schedule_is_the_protocol_s():
    factors = step_factors(step_size=5, epochs=12, niter_per_ep=3, gamma=0.5)

    rule = StepSchedule(every=5, gamma=0.5)
    assert factors.tolist() == [scheduled(1.0, rule, step // 3) for step in range(36)]
