from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from harness import protocol
from harness.errors import HarnessError
from harness.training.encoder import Encoder, build_encoder, pool, prepare_for_epoch


class Whatever(nn.Module):
    """A backbone that gives what it was made with."""

    def __init__(self, output: object) -> None:
        super().__init__()
        self.output = output

    def forward(self, images: Tensor) -> object:
        return self.output


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def encoder_of(backbone: nn.Module, num_features: int, **head: object) -> Encoder:
    return build_encoder(
        backbone,
        num_features=num_features,
        head=protocol.Head.model_validate({"dim": num_features, **head}),
        generator=seeded(),
    )


def small_backbone() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))


IMAGES = torch.zeros(1, 1, 2, 2)
MAPS = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, -4.0], [0.0, 0.0]]]])


# --- pooling ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        pytest.param("avg", [[3.0, -1.0]], id="avg"),
        pytest.param("avg+max", [[9.0, -1.0]], id="sum-of-avg-and-max"),
    ],
)
def test_maps_are_pooled_over_all_places(pooling: str, expected: list[list[float]]):
    assert pool(MAPS, pooling=pooling).tolist() == expected


def test_pooled_features_pass_through():
    features = torch.tensor([[1.0, 2.0]])

    assert pool(features, pooling="avg") is features


def test_a_maximum_of_pooled_features_is_refused():
    with pytest.raises(HarnessError, match="needs maps") as caught:
        pool(torch.ones(1, 2), pooling="avg+max")

    assert caught.value.hint == "set head.pooling: avg"


@pytest.mark.parametrize(
    ("output", "match"),
    [
        pytest.param(torch.ones(1, 5, 2), r"shape \(1, 5, 2\)", id="tokens"),
        pytest.param((torch.ones(1, 2),), "a tuple, not one tensor", id="tuple"),
        pytest.param(torch.ones(1, 3), "gives 3 features, its card says 2", id="width"),
    ],
)
def test_a_backbone_that_breaks_its_promise_is_named(output: object, match: str):
    encoder = encoder_of(Whatever(output), 2)

    with pytest.raises(HarnessError, match=match):
        encoder(IMAGES)


# --- head ---------------------------------------------------------------------------------------


def test_an_identity_head_returns_the_features():
    encoded = encoder_of(Whatever(MAPS), 2, kind="identity")(IMAGES)

    assert encoded.features.tolist() == [[3.0, -1.0]]
    assert encoded.embeddings.tolist() == [[3.0, -1.0]]


def test_an_identity_head_of_another_size_is_refused():
    with pytest.raises(HarnessError, match="keeps the backbone's 2 features") as caught:
        encoder_of(Whatever(MAPS), 2, kind="identity", dim=3)

    assert "head.dim: 2" in str(caught.value.hint)


def test_layer_norm_and_unit_length_follow_the_linear_layer():
    features = torch.tensor([[1.0, 2.0, 6.0]])  # mean 3, variance 14 / 3

    encoded = encoder_of(Whatever(features), 3, kind="identity", layer_norm=True)(IMAGES)

    spread = math.sqrt(14 / 3 + 1e-5)
    expected = torch.tensor([[-2.0, -1.0, 3.0]]) / spread
    torch.testing.assert_close(encoded.embeddings, expected)


def test_unit_length_of_a_hand_computed_vector():
    features = torch.tensor([[3.0, 4.0], [0.0, 0.0]])

    encoded = encoder_of(Whatever(features), 2, kind="identity", normalize=True)(IMAGES)

    torch.testing.assert_close(encoded.embeddings, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    assert torch.equal(encoded.features, features)


def test_a_zero_vector_has_a_finite_gradient():
    features = torch.zeros(1, 2, requires_grad=True)
    encoder = encoder_of(Whatever(features), 2, kind="identity", normalize=True)

    encoder(IMAGES).embeddings.sum().backward()

    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_the_default_head_draws_what_torch_would():
    encoder = build_encoder(
        Whatever(None), num_features=7, head=protocol.Head(dim=5), generator=seeded(11)
    )

    torch.manual_seed(11)
    twin = nn.Linear(7, 5)
    assert torch.equal(encoder.head.linear.weight, twin.weight)
    assert torch.equal(encoder.head.linear.bias, twin.bias)


def test_kaiming_fan_out_spreads_by_the_embedding_size():
    head = protocol.Head(dim=50, init="kaiming_fan_out")

    encoder = build_encoder(Whatever(None), num_features=2000, head=head, generator=seeded())

    weight = encoder.head.linear.weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / 50), rel=0.01)
    assert weight.mean().item() == pytest.approx(0, abs=0.003)
    assert not encoder.head.linear.bias.any()


@pytest.mark.parametrize("init", ["torch", "kaiming_fan_out"])
def test_a_head_depends_on_its_generator_alone(init: str):
    head = protocol.Head.model_validate({"dim": 3, "init": init})
    torch.manual_seed(1)
    first = build_encoder(Whatever(None), num_features=4, head=head, generator=seeded(5))
    before = torch.get_rng_state()
    second = build_encoder(Whatever(None), num_features=4, head=head, generator=seeded(5))
    other = build_encoder(Whatever(None), num_features=4, head=head, generator=seeded(6))

    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.head.linear.weight, second.head.linear.weight)
    assert not torch.equal(first.head.linear.weight, other.head.linear.weight)


def test_a_custom_head_replaces_the_whole_head_and_keeps_the_pooling():
    encoder = build_encoder(
        Whatever(MAPS),
        num_features=2,
        head=protocol.Head(dim=2, pooling="avg+max", layer_norm=True, normalize=True),
        custom_head=nn.Identity(),
        generator=seeded(),
    )

    assert encoder(IMAGES).embeddings.tolist() == [[9.0, -1.0]]


# --- modes of an epoch --------------------------------------------------------------------------


def trained_names(encoder: Encoder) -> set[str]:
    return {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}


CONV = {"backbone.0.weight", "backbone.0.bias"}
NORM = {"backbone.1.weight", "backbone.1.bias"}
HEAD = {"head.linear.weight", "head.linear.bias"}


@pytest.mark.parametrize(
    ("affine", "warming_up", "expected"),
    [
        pytest.param("train", False, CONV | NORM | HEAD, id="train"),
        pytest.param("train", True, HEAD, id="train-warming-up"),
        pytest.param("frozen", False, CONV | HEAD, id="frozen"),
        pytest.param("frozen", True, HEAD, id="frozen-warming-up"),
        pytest.param("after_warmup", True, HEAD, id="after-warmup-warming-up"),
        pytest.param("after_warmup", False, CONV | NORM | HEAD, id="after-warmup-later"),
    ],
)
def test_what_learns_in_an_epoch(affine: str, warming_up: bool, expected: set[str]):  # noqa: FBT001
    encoder = encoder_of(small_backbone(), 4)
    rule = protocol.BatchNorm.model_validate({"affine": affine})

    prepare_for_epoch(encoder, rule, warming_up=not warming_up)  # an earlier epoch leaves no trace
    prepare_for_epoch(encoder, rule, warming_up=warming_up)

    assert trained_names(encoder) == expected


def test_what_a_backbone_was_built_with_frozen_stays_frozen():
    backbone = small_backbone()
    backbone[0].requires_grad_(requires_grad=False)
    encoder = encoder_of(backbone, 4)

    prepare_for_epoch(encoder, protocol.BatchNorm(), warming_up=True)
    prepare_for_epoch(encoder, protocol.BatchNorm(), warming_up=False)

    assert trained_names(encoder) == NORM | HEAD


def test_frozen_statistics_survive_training_after_an_evaluation():
    encoder = encoder_of(small_backbone(), 4)
    rule = protocol.BatchNorm(statistics="frozen")
    before = {name: value.clone() for name, value in encoder.backbone[1].named_buffers()}

    for _ in range(2):
        prepare_for_epoch(encoder, rule, warming_up=False)
        encoder(torch.randn(4, 1, 5, 5))
        encoder.eval()

    after = dict(encoder.backbone[1].named_buffers())
    assert before.keys() == after.keys() == {"running_mean", "running_var", "num_batches_tracked"}
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_frozen_statistics_give_the_gradients_of_a_fixed_scale_and_shift():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3)
    norm.running_mean = torch.tensor([1.0, -2.0, 0.5])
    norm.running_var = torch.tensor([4.0, 0.25, 1.0])
    encoder = encoder_of(nn.Sequential(norm), 3, kind="identity")
    images = torch.randn(2, 3, 4, 4)

    prepare_for_epoch(encoder, protocol.BatchNorm(statistics="frozen"), warming_up=False)
    encoder(images).embeddings.pow(2).sum().backward()

    scale, shift = torch.ones(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    mean, var = norm.running_mean.view(3, 1, 1), norm.running_var.view(3, 1, 1)
    maps = (images - mean) / (var + 1e-5).sqrt() * scale.view(3, 1, 1) + shift.view(3, 1, 1)
    maps.mean((2, 3)).pow(2).sum().backward()
    torch.testing.assert_close(norm.weight.grad, scale.grad)
    torch.testing.assert_close(norm.bias.grad, shift.grad)


def test_training_statistics_move_even_while_warming_up():
    encoder = encoder_of(small_backbone(), 4)

    prepare_for_epoch(encoder, protocol.BatchNorm(), warming_up=True)
    encoder(torch.randn(4, 1, 5, 5) + 3)

    assert encoder.backbone[1].num_batches_tracked.item() == 1


@pytest.mark.parametrize(("momentum", "weight"), [(None, 0.1), (0.9, 0.9)])
def test_momentum_is_the_weight_of_a_batch_in_running_statistics(
    momentum: float | None, weight: float
):
    encoder = encoder_of(nn.Sequential(nn.BatchNorm2d(1)), 1, kind="identity")
    images = torch.tensor([3.0, 5.0]).view(2, 1, 1, 1)

    prepare_for_epoch(encoder, protocol.BatchNorm(momentum=momentum), warming_up=False)
    encoder(images)

    # mean 4 and unbiased variance 2, from 0 and 1
    assert encoder.backbone[0].running_mean.item() == pytest.approx(4 * weight)
    assert encoder.backbone[0].running_var.item() == pytest.approx(1 + weight)


def test_batch_norm_of_a_head_and_other_modes_are_never_frozen():
    head = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))
    encoder = build_encoder(
        small_backbone(),
        num_features=4,
        head=protocol.Head(dim=2),
        custom_head=head,
        generator=seeded(),
    )

    rule = protocol.BatchNorm(statistics="frozen", affine="frozen")
    prepare_for_epoch(encoder.eval(), rule, warming_up=True)

    assert not encoder.backbone[1].training
    assert encoder.backbone[3].training  # dropout
    assert all(module.training for module in head.modules())
    assert all(parameter.requires_grad for parameter in head.parameters())
