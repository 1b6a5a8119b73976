"""Proxy-ISA against loops over its definition, through all phases, and in its promises."""

import copy
import math

import numpy as np
import pytest
import torch
from harness_proxy_isa import ProxyIsaParams, build_proxy_isa
from harness_proxy_isa.memory import PublishedMemory, RingMemory
from harness_proxy_isa.objective import ProxyIsaObjective, bands, effective_number

import harness
from harness.api import Batch, BuildContext, HarnessError, Progress

CLASSES, DIM = 5, 6


def objective(*, num_classes: int = CLASSES, **params) -> ProxyIsaObjective:
    context = BuildContext(
        num_classes=num_classes, embedding_dim=DIM, generator=torch.Generator().manual_seed(0)
    )
    settings = {"memory_size": 40, "v": 8, **params}
    built = build_proxy_isa(ProxyIsaParams(**settings), context).objective.double()
    assert isinstance(built, ProxyIsaObjective)
    return built


def batch(labels=(0, 0, 1, 1, 1, 4, 3, 3), *, seed: int = 3, spread: float = 1.0) -> Batch:
    """Return embeddings around a direction per class, near enough to be easy or outliers."""
    generator = torch.Generator().manual_seed(seed)
    centres = objective().proxies.detach()
    noise = torch.randn(len(labels), DIM, generator=generator).double()
    embeddings = centres[list(labels)] + spread * noise * centres.std()
    return Batch.of(embeddings.requires_grad_(), torch.tensor(labels))


def epoch(number: int) -> Progress:
    return Progress(epoch=number)


# --- a literal twin ------------------------------------------------------------------------------


class Twin:
    """The published loss, sample by sample and class by class, with a list for a memory."""

    def __init__(self, proxies: np.ndarray, params: ProxyIsaParams) -> None:
        self.proxies = proxies / np.sqrt((proxies**2).sum(1, keepdims=True) + 1e-12)
        self.p = params
        self.n = [0] * len(proxies)
        self.s = [1.0] * len(proxies)
        self.memory: list[tuple[np.ndarray, int]] = []

    def effective(self, c: int) -> float:
        b = (self.p.v - 1) / self.p.v
        return (1 - b ** self.n[c]) / (1 - b)

    def weight(self, c: int, x: float, *, own: bool, filtering: bool) -> float:
        e = self.effective(c)
        u = 1 / (1 + math.log(1 + e))
        w = 1 + (1 + math.exp(-self.p.tau)) * (u - 1) / (1 + math.exp(self.p.v - self.p.tau - e))
        low = self.s[c] - ((1 + self.p.k * (1 - self.s[c])) * u + self.p.lam)
        if not own:
            return 1 / max(1, e) if x < low else 1
        if not filtering:
            return 1
        return 1 + w if low <= x <= self.s[c] else w

    def outlier(self, c: int, x: float) -> bool:
        u = 1 / (1 + math.log(1 + self.effective(c)))
        return x < self.s[c] - ((1 + self.p.k * (1 - self.s[c])) * u + self.p.lam)

    def step(self, x: np.ndarray, y: list[int], *, remembering: bool, filtering: bool) -> float:
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        cosine = x @ self.proxies.T
        total = {True: 0.0, False: 0.0}
        weights = {True: 0.0, False: 0.0}
        for c in range(len(self.n)):
            for own in (True, False):
                rows = [i for i, label in enumerate(y) if (label == c) == own]
                m = [self.weight(c, cosine[i, c], own=own, filtering=filtering) for i in rows]
                sign = -1 if own else 1
                terms = [
                    math.exp(self.p.alpha * (sign * cosine[i, c] + self.p.delta) * w)
                    for i, w in zip(rows, m, strict=True)
                ]
                total[own] += math.log(1 + sum(terms))
                weights[own] += sum(m) / len(m) if m else 0

        kept = [i for i, c in enumerate(y) if not (filtering and self.outlier(c, cosine[i, c]))]
        for c in {y[i] for i in kept}:
            self.n[c] += sum(y[i] == c for i in kept)
        if remembering:
            self.memory += [(x[i], y[i]) for i in kept]
            for c in {y[i] for i in kept}:
                near = [f @ self.proxies[c] for f, label in self.memory if label == c]
                self.s[c] = self.p.h * sum(near) / len(near)
        return total[True] / weights[True] + total[False] / weights[False]


@pytest.mark.parametrize("memory", ["published", "fixed"])
@pytest.mark.parametrize("spread", [0.3, 1.5])
def test_six_steps_through_all_phases_follow_the_definition(memory: str, spread: float):
    loss = objective(memory=memory, memory_size=200, memory_epoch=2, filter_epoch=4, h=0.6)
    twin = Twin(loss.proxies.detach().numpy(), loss.params)

    for step in range(6):
        labels = [(3 * i + step) % CLASSES for i in range(7 + step % 2)]
        data = batch(labels, seed=step, spread=spread)
        found = loss(data, epoch(step))["loss"].item()
        expected = twin.step(
            data.embeddings.detach().numpy(), labels, remembering=step >= 2, filtering=step >= 4
        )

        assert found == pytest.approx(expected, rel=1e-10)
    assert loss.counter.tolist() == twin.n
    assert loss.learned_sim.tolist() == pytest.approx(twin.s, rel=1e-10)


def test_the_filter_leaves_outliers_out_of_counter_and_memory():
    loss = objective(filter_epoch=0, memory_epoch=0)
    loss.counter.fill_(1000)
    loss.learned_sim.fill_(1.0)  # lower threshold about 1 - 0.31 - 0.1
    pointing = loss.proxies.detach()[[0, 1]].clone()
    pointing[1] = -pointing[1]

    loss(Batch.of(pointing, torch.tensor([0, 1])), epoch(0))

    assert loss.counter.tolist() == [1001, 1000, 1000, 1000, 1000]
    assert loss.memory.pointer.item() == 1


def test_a_batch_of_outliers_changes_no_state():
    loss = objective(filter_epoch=0, memory_epoch=0)
    loss.counter.fill_(1000)
    before = copy.deepcopy(loss.state_dict())

    found = loss(Batch.of(-loss.proxies.detach()[:3], torch.arange(3)), epoch(5))["loss"]

    assert found.isfinite()
    assert all(torch.equal(value, before[name]) for name, value in loss.state_dict().items())


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (1, 1), (2, 1.99), (100_000, 100)])
def test_effective_number_by_hand(count: int, expected: float):
    found = effective_number(torch.tensor([count]), limit=100.0, like=torch.zeros(1).double())

    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_bands_have_the_values_measured_with_the_authors_code():
    # specification: E 63.4, 95.1, 100 and u .194, .180, .178 and w 1.000, .968, .179
    effective = effective_number(
        torch.tensor([100, 300, 1000]), limit=100.0, like=torch.zeros(1).double()
    )
    saturated = torch.tensor([1.0, 1.0, 0.12]).double()

    found = bands(effective, saturated, ProxyIsaParams())

    assert effective.tolist() == pytest.approx([63.4, 95.1, 100], abs=0.05)
    assert found.weight.tolist() == pytest.approx([1.000, 0.968, 0.179], abs=5e-4)
    assert found.lower[2].item() == pytest.approx(-0.299, abs=1e-3)


def test_without_weights_it_is_proxy_anchor_of_another_library():
    from pytorch_metric_learning.losses import ProxyAnchorLoss

    loss, data = objective(num_classes=4), batch([0, 0, 1, 3, 3])
    theirs = ProxyAnchorLoss(4, DIM, margin=0.1, alpha=32).double()
    theirs.load_state_dict({"proxies": loss.proxies.detach()})

    found = loss(data, epoch(0))["loss"]  # new classes: every weight is 1

    torch.testing.assert_close(found, theirs(data.embeddings, data.labels), rtol=1e-9, atol=0)


def test_gradients_agree_with_finite_differences():
    loss = objective(filter_epoch=0, memory_epoch=0, alpha=4).eval()
    loss.counter.copy_(torch.tensor([3, 9, 30, 0, 12]))
    loss.learned_sim.copy_(torch.tensor([1, 0.4, 0.2, 1, 0.3]))
    data = batch()

    def total(embeddings: torch.Tensor, proxies: torch.Tensor) -> torch.Tensor:
        given = {"proxies": proxies}
        moved = Batch.of(embeddings, data.labels)
        return torch.func.functional_call(loss, given, (moved, epoch(3)))["loss"]

    assert torch.autograd.gradcheck(total, (data.embeddings, loss.proxies))


# --- the memory ----------------------------------------------------------------------------------


def write(memory: PublishedMemory, *batches: list[int]) -> None:
    for labels in batches:
        rows = torch.tensor(labels)
        memory.write(rows[:, None] * 10.0, rows, torch.ones(len(labels)) > 0)


def test_the_published_queue_overwrites_its_end_before_it_wraps():
    memory = PublishedMemory(5, 1)

    write(memory, [1, 2, 3], [4, 5, 6], [7, 8])

    # [4, 5, 6] does not fit behind slot 3 and goes to the last three slots
    assert memory.targets.tolist() == [7, 8, 4, 5, 6]
    assert memory.features.flatten().tolist() == [70, 80, 40, 50, 60]
    assert memory.pointer.item() == 2
    assert memory.filled().all()


def test_the_published_queue_is_empty_after_a_wrap_that_ends_in_class_zero():
    memory = PublishedMemory(4, 1)

    write(memory, [1, 2, 3], [3, 0])

    assert memory.targets.tolist() == [1, 2, 3, 0]
    assert not memory.filled().any()


def test_the_published_queue_may_end_exactly_at_its_size():
    memory = PublishedMemory(4, 1)

    write(memory, [1, 2], [3, 0])

    assert memory.pointer.item() == 4
    assert memory.filled().all()


def test_the_ring_replaces_the_oldest_and_counts_class_zero():
    memory = RingMemory(5, 1)

    write(memory, [1, 2, 3])
    part = memory.filled().tolist()
    write(memory, [4, 5, 0], [7, 8])

    assert part == [True, True, True, False, False]
    assert memory.targets.tolist() == [0, 7, 8, 4, 5]
    assert memory.filled().all()
    assert memory.pointer.item() == 3


@pytest.mark.parametrize("kind", [PublishedMemory, RingMemory])
def test_only_kept_rows_are_written_in_order(kind: type[PublishedMemory]):
    memory = kind(6, 1)
    rows = torch.tensor([5, 6, 7, 8])

    memory.write(rows[:, None] * 1.0, rows, torch.tensor([False, True, False, True]))

    assert memory.targets[:2].tolist() == [6, 8]
    assert memory.filled().tolist() == [True, True, False, False, False, False]


def test_a_batch_that_is_larger_than_the_memory_is_refused():
    loss = objective(memory_size=3, memory_epoch=0)

    with pytest.raises(HarnessError, match="a batch of 8 does not fit into a memory of 3") as info:
        loss(batch(), epoch(0))

    assert info.value.hint == "set loss.memory_size to 8 or more"


# --- promises ------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", ["published", "fixed"])
def test_a_checkpoint_in_mid_sequence_goes_on_as_if_nothing_had_happened(memory: str):
    settings = {"memory": memory, "memory_size": 12, "memory_epoch": 1, "filter_epoch": 2}
    first, second = objective(**settings), objective(**settings)
    for step in range(3):
        first(batch(seed=step), epoch(step))

    second.load_state_dict(first.state_dict())

    for step in range(3, 7):
        ours, theirs = (x(batch(seed=step), epoch(step))["loss"] for x in (first, second))
        assert torch.equal(ours, theirs)
    state = second.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in first.state_dict().items())


def test_evaluation_mode_changes_no_state():
    loss = objective(memory_epoch=0).eval()
    before = copy.deepcopy(loss.state_dict())

    loss(batch(), epoch(3))

    assert all(torch.equal(value, before[name]) for name, value in loss.state_dict().items())


def test_embeddings_are_scaled_to_unit_length_unless_told_otherwise():
    data, scaled = batch(), batch()
    scaled = Batch.of(scaled.embeddings * 7, scaled.labels)

    usual = [objective()(each, epoch(0))["loss"].item() for each in (data, scaled)]
    raw = [
        objective(normalize_embeddings=False)(each, epoch(0))["loss"].item()
        for each in (data, scaled)
    ]

    assert usual[0] == pytest.approx(usual[1], rel=1e-12)
    assert raw[0] != pytest.approx(raw[1], rel=1e-3)


@pytest.mark.parametrize("number", [0, 2, 3], ids=["plain", "memory", "filter"])
@pytest.mark.parametrize(
    "labels", [[2] * 6, [0, 1, 2, 3, 4], [1]], ids=["one-class", "one-each", "one"]
)
def test_odd_batches_have_finite_connected_losses(labels: list[int], number: int):
    loss, data = objective(), batch(labels)

    loss(data, epoch(number))["loss"].backward()

    assert data.embeddings.grad.isfinite().all()
    assert data.embeddings.grad.abs().sum() > 0
    assert loss.proxies.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_embeddings_are_computed_in_the_precision_of_the_proxies(dtype):
    data, loss = batch(), objective(memory_epoch=0)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = loss(Batch.of(data.embeddings.to(dtype), data.labels), epoch(3))

    assert terms["loss"].dtype == torch.float64
    assert terms["loss"].isfinite()
    assert loss.learned_sim.isfinite().all()


def test_one_training_class_is_refused():
    with pytest.raises(HarnessError, match="at least 2 training classes, got 1"):
        objective(num_classes=1)


def test_proxies_learn_at_a_hundred_times_the_rate():
    parts = harness.build("loss", "proxy_isa", {"memory_size": 8}, num_classes=3, embedding_dim=2)

    (group,) = parts.param_groups

    assert (group.name, group.lr_scale, group.lr) == ("proxies", 100, None)
    assert group.params == [parts.objective.proxies]
