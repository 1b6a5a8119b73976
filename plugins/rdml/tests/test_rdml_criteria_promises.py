"""What all criteria promise: finite losses, trained weights, precision, draws, messages."""

import math
from dataclasses import replace

import pytest
import torch
from harness_rdml.criterion_cards import CRITERIA
from harness_rdml.criterion_params import SeparationParams
from harness_rdml.triplet_criteria import draw
from pydantic import ValidationError
from torch._subclasses.fake_tensor import FakeTensorMode

from harness.api import Batch, BuildContext, HarnessError, LossParts, Progress, Triplets
from harness.kit.pairs import all_pairs, all_triplets

CARDS = {card.name.removeprefix("rdml_"): card for card in CRITERIA}
CLASSES, DIM = 7, 8
BALANCED = (0, 0, 1, 1, 3, 3, 5, 5)
every_criterion = pytest.mark.parametrize("name", CARDS)


def build(name: str, *, seed: int = 0, classes: int = CLASSES, dim: int = DIM, **params):
    context = BuildContext(classes, dim, generator=torch.Generator().manual_seed(seed))
    return CARDS[name].build(CARDS[name].params(**params), context)


def batch(name: str, labels: tuple[int, ...] = BALANCED, *, scale: float = 1) -> Batch:
    """Return a batch with all tuples of the sort that a criterion takes."""
    makers = {"triplets": all_triplets, "pairs": all_pairs}
    takes, ids = CARDS[name].takes, torch.tensor(labels, dtype=torch.int64)
    points = torch.randn(len(labels), DIM, generator=torch.Generator().manual_seed(4)) * scale
    tuples = makers[takes[0]](ids) if takes else None
    return Batch.of(points.requires_grad_(), ids, tuples=tuples)


def loss_of(parts: LossParts, data: Batch) -> torch.Tensor:
    found = parts.objective(data, Progress())
    return found["loss"] if isinstance(found, dict) else found


@every_criterion
@pytest.mark.parametrize(
    "labels",
    [
        pytest.param((2, 2, 2, 2), id="one-class"),
        pytest.param((0, 1, 2, 3), id="no-partner"),
        pytest.param((0, 0, 1), id="one-without-partner"),
    ],
)
@pytest.mark.parametrize("scale", [1, 30], ids=["small", "large"])
def test_loss_and_gradient_are_finite_where_pairs_are_missing(name: str, labels, scale: float):
    data = batch(name, labels, scale=scale)

    loss = loss_of(build(name), data)

    assert loss.isfinite()
    assert torch.autograd.grad(loss, data.embeddings)[0].isfinite().all()


@every_criterion
def test_points_that_coincide_have_a_finite_gradient(name: str):
    data = batch(name)
    points = data.embeddings.detach()[:1].expand(len(BALANCED), -1).clone().requires_grad_()

    loss = loss_of(build(name), replace(data, embeddings=points))

    assert loss.isfinite()
    assert torch.autograd.grad(loss, points)[0].isfinite().all()


# Learning rates of the published runs; a factor is on that of the network, 1e-5.
GROUPS = {
    "margin": ("beta", 5e-4, 1),
    "softmax": ("class_map", 1e-5, 1),
    "arcface": ("class_map", 5e-4, 1),
    "proxynca": ("proxies", None, 50),
    "softtriplet": ("centroids", None, 1),
    "adversarial_separation": ("regressors", None, 1),
}


@every_criterion
def test_every_weight_is_in_a_group_without_decay_and_gets_a_gradient(name: str):
    parts = build(name)
    found = [(group.name, group.lr, group.lr_scale) for group in parts.param_groups]
    trained = [id(weight) for group in parts.param_groups for weight in group.params]

    loss_of(parts, batch(name)).backward()

    assert found == ([GROUPS[name]] if name in GROUPS else [])
    assert trained == [id(weight) for weight in parts.objective.parameters()]
    assert all(group.weight_decay == 0 for group in parts.param_groups)
    assert all(weight.grad.abs().sum() > 0 for weight in parts.objective.parameters())


@pytest.mark.parametrize(
    ("name", "low", "high", "std"),
    [
        ("margin", 1.2, 1.2, 0),
        ("softmax", -1 / math.sqrt(64), 1 / math.sqrt(64), 2 / math.sqrt(12 * 64)),
        ("arcface", -1 / math.sqrt(64), 1 / math.sqrt(64), 2 / math.sqrt(12 * 64)),
        ("proxynca", -1, 1, 1 / 8),
        ("softtriplet", -1 / math.sqrt(400), 1 / math.sqrt(400), 2 / math.sqrt(12 * 400)),
    ],
)
def test_weights_start_as_published(name: str, low: float, high: float, std: float):
    (weight,) = build(name, classes=200, dim=64).objective.parameters()

    assert low - 1e-6 <= weight.min() <= weight.max() <= high + 1e-6
    assert weight.std().item() == pytest.approx(std, rel=0.03, abs=1e-6)


@every_criterion
def test_half_precision_changes_the_embeddings_only(name: str):
    data = batch(name)
    rounded = data.embeddings.detach().bfloat16()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss_of(build(name), replace(data, embeddings=rounded))

    expected = loss_of(build(name), replace(data, embeddings=rounded.float()))
    assert torch.equal(found, expected)


@every_criterion
def test_single_and_double_precision_agree(name: str):
    data = batch(name)
    doubled = replace(data, embeddings=data.embeddings.detach().double())
    double = build(name)
    double.objective.double()

    found, expected = loss_of(build(name), data), loss_of(double, doubled)

    assert (found.dtype, expected.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(found.double(), expected, rtol=2e-5, atol=2e-5)


VARIANTS = [
    pytest.param(name, {"variant": variant} if variant else {}, id=f"{name}-{variant}")
    for name, card in CARDS.items()
    for variant in (("published", "intended") if "variant" in card.params.model_fields else ("",))
]


@pytest.mark.parametrize(("name", "params"), VARIANTS)
def test_no_number_of_a_batch_is_needed_on_the_host(name: str, params: dict[str, str]):
    data, parts = batch(name), build(name, **params)
    parts.objective.num_classes = None  # labels in host memory are looked at, others are not

    # fake tensors have shapes and no numbers: whoever asks for one gets an error
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        embeddings = fake.from_tensor(data.embeddings.detach()).requires_grad_()
        tuples = data.tuples and type(data.tuples)(*map(fake.from_tensor, data.tuples))
        hidden = Batch(embeddings, fake.from_tensor(data.labels), tuples=tuples)
        loss = loss_of(parts, hidden)
        loss.backward()

    assert loss.shape == ()


# --- draws --------------------------------------------------------------------------------------


def test_fourth_points_are_uniform_over_their_pool():
    pool = torch.tensor([[True, False, True, True, False]]).expand(6000, -1)

    drawn = draw(pool, torch.Generator().manual_seed(0))

    counts = torch.bincount(drawn, minlength=5)
    assert counts[[1, 4]].tolist() == [0, 0]
    # a share of 1/3 in 6000 draws has a standard deviation of 37
    assert (counts[[0, 2, 3]] - 2000).abs().max() < 4 * 37


def test_quadruplet_draws_from_the_generator_it_was_built_with():
    data = batch("quadruplet", (0, 0, 1, 1, 2, 2))
    one, same, other = (
        build("quadruplet", seed=1),
        build("quadruplet", seed=1),
        build("quadruplet"),
    )

    first = [loss_of(one, data).item() for _ in range(3)]

    assert [loss_of(same, data).item() for _ in range(3)] == first
    assert len(set(first)) > 1  # it draws anew at every step
    assert [loss_of(other, data).item() for _ in range(3)] != first


# --- separation ---------------------------------------------------------------------------------


def test_separation_alone_says_nothing_about_classes():
    data = batch("adversarial_separation")
    renamed = replace(data, labels=data.labels.flip(0) + 1)
    parts = build("adversarial_separation", base_weight=0)

    assert loss_of(parts, data).item() == loss_of(parts, renamed).item()


def test_regressors_learn_to_predict_what_the_embedding_learns_to_hide():
    data = batch("adversarial_separation")
    parts = build("adversarial_separation", base_weight=0, proj_dim=32)
    before = loss_of(parts, data)

    before.backward()
    with torch.no_grad():
        for weight in parts.objective.parameters():
            weight.sub_(0.1 * weight.grad)
    after_regressors = loss_of(parts, data)
    moved = (data.embeddings - 0.1 * data.embeddings.grad).detach()
    after_embeddings = loss_of(parts, replace(data, embeddings=moved))

    assert after_regressors < before
    assert after_embeddings > after_regressors


def test_three_parts_have_a_third_of_the_embedding_each():
    params = {"directions": ("a-b", "c-a"), "weights": (1, 2), "proj_dim": 5}

    state = build("adversarial_separation", dim=9, **params).objective.state_dict()

    assert state["separation.regressors.c-a.0.weight"].shape == (5, 3)


def test_an_embedding_that_cannot_be_cut_is_refused():
    with pytest.raises(HarnessError, match="an embedding of 7 numbers has no 2 equal parts"):
        build("adversarial_separation", dim=7)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"directions": ("a-b",), "weights": (1, 2)}, "2 weights for 1 directions"),
        ({"directions": ("a-b", "a-b"), "weights": (1, 2)}, "a direction is named twice"),
        ({"directions": ("a-a",), "weights": (1,)}, "two parts at least"),
        ({"directions": ("a",), "weights": (1,)}, "should match pattern"),
    ],
)
def test_directions_that_make_no_sense_are_refused(params, message: str):
    with pytest.raises(ValidationError, match=message):
        SeparationParams(**params)


# --- messages -----------------------------------------------------------------------------------


@every_criterion
def test_tuples_that_are_missing_or_of_another_sort_are_refused(name: str):
    card, data = CARDS[name], batch(name)
    wrong = {"triplets": all_pairs, "pairs": all_triplets}
    others = [wrong[card.takes[0]](data.labels)] if card.takes else []
    others += [None] if card.mining_required else []

    for tuples in others:
        with pytest.raises(HarnessError, match=f"needs {card.takes[0]} from a miner"):
            loss_of(build(name), replace(data, tuples=tuples))


@pytest.mark.parametrize("name", ["margin", "softmax", "arcface", "proxynca", "softtriplet"])
def test_a_label_without_weights_is_refused(name: str):
    data = batch(name, (0, 0, CLASSES, CLASSES))

    with pytest.raises(HarnessError, match=rf"label {CLASSES} is outside \[0, {CLASSES}\)"):
        loss_of(build(name), data)


def test_no_triplet_at_all_costs_nothing():
    empty = torch.empty(0, dtype=torch.int64)
    data = replace(batch("triplet"), tuples=Triplets(empty, empty, empty))

    assert loss_of(build("triplet"), data).item() == 0
