"""The three losses against loops over their definitions, plain losses, and odd batches."""

import itertools
import math

import numpy as np
import pytest
import torch
from harness_direction import triplet as triplet_module
from harness_direction.multi_similarity import direction_cosines
from harness_direction.proxy_nca import ProxyNcaObjective
from pytorch_metric_learning import distances, losses, miners, reducers
from torch.nn import functional

import harness
from harness.api import Batch, HarnessError, LossParts, Progress

CLASSES, DIM = 5, 6
LABELS = (0, 0, 1, 1, 1, 4, 3, 3, 0)
NAMES = ("dr_triplet", "dr_proxy_nca", "dr_ms")
every_loss = pytest.mark.parametrize("name", NAMES)
RAW = {"normalize_embeddings": False}


def build(name: str, *, num_classes: int = CLASSES, **params) -> LossParts:
    generator = torch.Generator().manual_seed(0)
    parts = harness.build(
        "loss", name, params, num_classes=num_classes, embedding_dim=DIM, generator=generator
    )
    parts.objective.double()
    return parts


def batch(labels=LABELS, *, seed: int = 3, dim: int = DIM) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(len(labels), dim, generator=generator).double()
    return Batch.of(embeddings.requires_grad_(), torch.tensor(labels))


def terms_of(parts: LossParts, data: Batch) -> dict[str, torch.Tensor]:
    terms = parts.objective(data, Progress())
    return terms if isinstance(terms, dict) else {"loss": terms}


def rows_of(data: Batch, *, unit: bool) -> np.ndarray:
    x = data.embeddings.detach().numpy()
    return x / np.linalg.norm(x, axis=1, keepdims=True) if unit else x


def cosine(u: np.ndarray, v: np.ndarray) -> float:
    return u @ v / (max(np.linalg.norm(u), 1e-8) * max(np.linalg.norm(v), 1e-8))


# --- literal twins -------------------------------------------------------------------------------


def triplet_twin(x: np.ndarray, y: list[int], margin: float, gamma: float) -> dict[str, float]:
    found = []
    for a, p, n in itertools.product(range(len(x)), repeat=3):
        if a == p or y[a] != y[p] or y[a] == y[n]:
            continue
        near, far = (np.linalg.norm(x[a] - x[o] + 1e-6) for o in (p, n))
        angle = cosine(x[p] - x[a], x[n] - x[a])
        found.append((max(0, near - far + margin - gamma * angle), near, far, angle))
    means = np.mean(found, axis=0)
    return {
        "loss": means[0],
        "mean_ap_dist": means[1],
        "mean_an_dist": means[2],
        "mean_cos": means[3],
        "num_triplets": len(found),
        "num_active": sum(row[0] > 0 for row in found),
    }


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("gamma", [0.0, 0.4])
def test_triplet_follows_the_definition(gamma: float, *, unit: bool):
    data = batch()

    terms = terms_of(build("dr_triplet", gamma=gamma, normalize_embeddings=unit), data)

    expected = triplet_twin(rows_of(data, unit=unit), data.labels.tolist(), 0.28, gamma)
    assert {k: v.item() for k, v in terms.items()} == pytest.approx(expected, rel=1e-10)


def test_triplet_options_by_hand():
    # anchors 0 and 1 on a line with a negative in the middle: distances 4 and 2, cosine 1
    data = Batch.of(torch.tensor([[0.0], [4.0], [2.0]]).double(), torch.tensor([0, 0, 1]))
    half_off = Batch.of(torch.tensor([[0.0], [1.0], [5.0]]).double(), torch.tensor([0, 0, 1]))

    plain = terms_of(build("dr_triplet", margin=1, gamma=0.5, **RAW), data)
    squared = terms_of(
        build("dr_triplet", margin=1, gamma=0.5, squared_distance=True, **RAW), data
    )
    active = terms_of(
        build("dr_triplet", margin=3.5, gamma=0, reduction="active", **RAW), half_off
    )

    assert plain["loss"].item() == pytest.approx(4 - 2 + 1 - 0.5, rel=1e-5)
    assert squared["loss"].item() == pytest.approx(16 - 4 + 1 - 0.5, rel=1e-5)
    # 1 - 5 + 3.5 is no violation, 1 - 4 + 3.5 is
    assert active["num_active"].item() == 1
    assert active["loss"].item() == pytest.approx(0.5, rel=1e-5)


def nca_twin(
    x: np.ndarray, y: list[int], proxies: np.ndarray, gamma: float, power: int = 1
) -> float:
    total = 0.0
    for row, own in zip(x, y, strict=True):
        pull = np.linalg.norm(row - proxies[own]) ** power
        push = 0.0
        for k, proxy in enumerate(proxies):
            if k != own:
                angle = cosine(proxy - row, proxies[own] - row)
                push += math.exp(-(np.linalg.norm(row - proxy) ** power) - gamma * angle)
        total += pull + math.log(push)
    return total / len(x)


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("gamma", [0.0, 0.4])
@pytest.mark.parametrize("options", [{}, {"squared_distance": True}, {"normalize_proxies": True}])
def test_proxy_nca_follows_the_definition(options: dict[str, bool], gamma: float, *, unit: bool):
    parts, data = build("dr_proxy_nca", gamma=gamma, normalize_embeddings=unit, **options), batch()
    with torch.no_grad():
        parts.objective.proxies.mul_(1.7)

    loss = parts.objective(data, Progress())

    proxies = parts.objective.proxies.detach().numpy()
    if options.get("normalize_proxies"):
        proxies = proxies / np.linalg.norm(proxies, axis=1, keepdims=True)
    power = 2 if options.get("squared_distance") else 1
    expected = nca_twin(rows_of(data, unit=unit), data.labels.tolist(), proxies, gamma, power)
    assert loss.item() == pytest.approx(expected, rel=1e-10)


def ms_twin(x: np.ndarray, y: list[int], gamma: float, margin: float = 0.1) -> float:
    s, total = x @ x.T, 0.0
    for i in range(len(x)):
        positive = [j for j in range(len(x)) if y[j] == y[i] and s[i, j] < 1 - 1e-5]
        negative = [j for j in range(len(x)) if y[j] != y[i]]
        if not positive or not negative:
            continue
        nearest, farthest = max(s[i, negative]), min(s[i, positive])
        positive = [j for j in positive if s[i, j] - margin < nearest]
        negative = [j for j in negative if s[i, j] + margin > farthest]
        if not positive or not negative:
            continue
        hardest = min(positive, key=lambda j: s[i, j])
        rho = {j: gamma * cosine(x[j] - x[i], x[hardest] - x[i]) for j in negative}
        pull = sum(math.exp(-2 * (s[i, j] - 0.7)) for j in positive)
        push = sum(math.exp(50 * (s[i, j] - 0.7 - rho[j])) for j in negative)
        total += math.log(1 + pull) / 2 + math.log(1 + push) / 50
    return total / len(x)


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("gamma", [0.0, 0.4])
@pytest.mark.parametrize("seed", [3, 4])
def test_multi_similarity_follows_the_definition(seed: int, gamma: float, *, unit: bool):
    data = batch(seed=seed)

    loss = terms_of(build("dr_ms", gamma=gamma, normalize_embeddings=unit), data)["loss"]

    expected = ms_twin(rows_of(data, unit=unit), data.labels.tolist(), gamma)
    assert loss.item() == pytest.approx(expected, rel=1e-10)


# --- against another library ---------------------------------------------------------------------


def gradient(loss: torch.Tensor, data: Batch) -> torch.Tensor:
    return torch.autograd.grad(loss, data.embeddings)[0]


def test_gamma_zero_is_the_triplet_loss_of_another_library():
    ours, theirs = batch(), batch()
    plain = losses.TripletMarginLoss(
        0.28,
        distance=distances.LpDistance(normalize_embeddings=False),
        reducer=reducers.MeanReducer(),
    )

    found = terms_of(build("dr_triplet", gamma=0, **RAW), ours)["loss"]
    expected = plain(theirs.embeddings, theirs.labels)

    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)  # they add no 1e-6
    torch.testing.assert_close(
        gradient(found, ours), gradient(expected, theirs), rtol=1e-4, atol=1e-6
    )


def test_gamma_zero_is_multi_similarity_of_another_library():
    ours, theirs = batch(), batch()
    plain = losses.MultiSimilarityLoss(2, 50, 0.7)
    mined = miners.MultiSimilarityMiner(0.1)(theirs.embeddings, theirs.labels)

    found = terms_of(build("dr_ms", gamma=0), ours)["loss"]
    expected = plain(theirs.embeddings, theirs.labels, mined)

    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(gradient(found, ours), gradient(expected, theirs))


# --- near and equal points -----------------------------------------------------------------------


def triplet_in_torch(x: torch.Tensor, y: list[int]) -> torch.Tensor:
    found = [
        (a, p, n)
        for a, p, n in itertools.product(range(len(y)), repeat=3)
        if a != p and y[a] == y[p] and y[a] != y[n]
    ]
    a, p, n = (x[list(index)] for index in zip(*found, strict=True))
    near, far = (functional.pairwise_distance(a, other) for other in (p, n))
    return (near - far + 0.28 - 0.3 * functional.cosine_similarity(p - a, n - a)).relu().mean()


@pytest.mark.parametrize("apart", [0, 1e-4, 1])
@pytest.mark.parametrize("row", [1, 3], ids=["positive", "negative"])
def test_triplet_gradients_of_near_points_are_those_of_differences(row: int, apart: float):
    data = batch([0, 0, 0, 1, 1, 2])
    points = functional.normalize(data.embeddings.detach())
    points[row] = points[0] + apart * points[row]
    ours, theirs = points.clone().requires_grad_(), points.clone().requires_grad_()

    found = terms_of(build("dr_triplet", **RAW), Batch.of(ours, data.labels))["loss"]
    expected = triplet_in_torch(theirs, data.labels.tolist())

    of_ours, of_theirs = (
        torch.autograd.grad(a, b)[0] for a, b in ((found, ours), (expected, theirs))
    )
    assert found.item() == pytest.approx(expected.item(), rel=1e-8)
    # a negative on its anchor has gradients of about 1e6, as published
    assert (of_ours - of_theirs).abs().max() < 1e-7 * of_theirs.abs().max()


# --- gradients -----------------------------------------------------------------------------------


@every_loss
def test_gradients_agree_with_finite_differences(name: str):
    parts, data = build(name, gamma=0.4), batch(LABELS[:7])
    names, values = (
        zip(*parts.objective.named_parameters(), strict=True) if name == NAMES[1] else ((), ())
    )

    def total(embeddings: torch.Tensor, *learnable: torch.Tensor) -> torch.Tensor:
        given = dict(zip(names, learnable, strict=True))
        moved = Batch.of(embeddings, data.labels)
        terms = torch.func.functional_call(parts.objective, given, (moved, Progress()))
        return terms["loss"] if isinstance(terms, dict) else terms

    assert torch.autograd.gradcheck(total, (data.embeddings, *values))


def test_an_anchor_that_is_its_own_hardest_positive_has_cosine_zero_without_gradient():
    embeddings = batch([0, 1, 1]).embeddings

    found = direction_cosines(embeddings, torch.tensor([0, 2, 1]))
    of_first = torch.autograd.grad(found[0].sum(), embeddings)[0]

    assert found[0].tolist() == [0, 0, 0]
    assert torch.equal(of_first, torch.zeros_like(of_first))


# --- chunks and memory ---------------------------------------------------------------------------


def test_chunks_of_anchors_change_nothing(monkeypatch: pytest.MonkeyPatch):
    whole, parts = batch(), batch()
    expected = terms_of(build("dr_triplet"), whole)
    monkeypatch.setattr(triplet_module, "AT_ONCE", 2 * len(LABELS) ** 2)

    found = terms_of(build("dr_triplet"), parts)

    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    torch.testing.assert_close(gradient(found["loss"], parts), gradient(expected["loss"], whole))


@pytest.mark.parametrize("size", [128, pytest.param(512, marks=pytest.mark.slow)])
def test_kept_tensors_stay_far_below_a_gibibyte(size: int):
    labels = torch.arange(size // 16).repeat_interleave(16)
    generator = torch.Generator().manual_seed(0)
    data = Batch.of(torch.randn(size, 512, generator=generator).requires_grad_(), labels)
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        terms = harness.build("loss", "dr_triplet").objective(data, Progress())

    assert terms["num_triplets"].item() == size * 15 * (size - 16)
    assert sum(kept.values()) < 2**28


# --- odd batches and promises --------------------------------------------------------------------


@every_loss
@pytest.mark.parametrize(
    "labels",
    [[2] * 6, [0, 1, 2, 3, 4], [1], [0, 0, 1]],
    ids=["one-class", "singletons", "one", "3"],
)
def test_odd_batches_have_finite_connected_losses(name: str, labels: list[int]):
    data = batch(labels)

    terms_of(build(name), data)["loss"].backward()

    assert data.embeddings.grad.isfinite().all()


@every_loss
def test_equal_embeddings_have_finite_gradients(name: str):
    data = Batch.of(torch.ones(6, DIM).double().requires_grad_(), torch.tensor([0, 0, 0, 1, 1, 1]))

    terms_of(build(name), data)["loss"].backward()

    assert data.embeddings.grad.isfinite().all()


def on_a_proxy(**params) -> torch.Tensor:
    objective = build("dr_proxy_nca", **RAW, **params).objective
    assert isinstance(objective, ProxyNcaObjective)
    data = Batch.of(objective.proxies.detach()[:2].clone().requires_grad_(), torch.tensor([0, 1]))
    loss = objective(data, Progress())
    return torch.cat([loss[None], gradient(loss, data).flatten()])


def test_an_embedding_on_its_proxy_is_finite_unless_eps_is_zero():
    assert on_a_proxy().isfinite().all()
    assert on_a_proxy(eps=0).isnan().any()


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_embeddings_give_a_finite_loss_in_more_precision(name: str, dtype):
    data = batch()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = terms_of(build(name), Batch.of(data.embeddings.to(dtype), data.labels))["loss"]
    loss.backward()

    assert loss.dtype in {torch.float32, torch.float64}
    assert data.embeddings.grad.isfinite().all()


@every_loss
def test_embeddings_are_scaled_to_unit_length_unless_told_otherwise(name: str):
    data = batch()
    longer = Batch.of(data.embeddings * 7, data.labels)

    usual = [terms_of(build(name), each)["loss"].item() for each in (data, longer)]
    raw = [terms_of(build(name, **RAW), each)["loss"].item() for each in (data, longer)]

    assert usual[0] == pytest.approx(usual[1], rel=1e-9)
    assert raw[0] != pytest.approx(raw[1], rel=1e-3)


def test_proxies_start_on_the_sphere_and_have_no_weight_decay():
    parts = build("dr_proxy_nca", num_classes=50)

    (group,) = parts.param_groups

    assert (group.name, group.lr_scale, group.weight_decay) == ("proxies", 1, 0)
    torch.testing.assert_close(
        parts.objective.proxies.norm(dim=1), torch.ones(50).double(), atol=1e-6, rtol=0
    )


def test_one_training_class_is_refused():
    with pytest.raises(HarnessError, match="at least 2 training classes, got 1"):
        build("dr_proxy_nca", num_classes=1)


def test_a_label_outside_the_classes_is_refused():
    with pytest.raises(HarnessError, match=r"label 5 is outside \[0, 5\)"):
        build("dr_proxy_nca").objective(batch([0, CLASSES]), Progress())
