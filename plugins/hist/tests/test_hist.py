"""HIST against the formulas, in its degenerate cases, and in its promises."""

import math

import numpy as np
import pytest
import torch
from harness_hist import HistParams, build_hist
from harness_hist.objective import (
    HistObjective,
    class_distances,
    distribution_loss,
    propagation_matrix,
)

from harness.api import Batch, BuildContext, HarnessError, LossParts, Progress

CLASSES, DIM, HIDDEN = 6, 5, 7
DISTANCES = ["mahalanobis", "euclidean", "manhattan", "cosine"]


def build(*, num_classes: int = CLASSES, seed: int = 0, **params) -> LossParts:
    context = BuildContext(
        num_classes=num_classes,
        embedding_dim=DIM,
        generator=torch.Generator().manual_seed(seed),
    )
    return build_hist(HistParams(**{"hgnn_hidden": HIDDEN, **params}), context)


def objective(**settings) -> HistObjective:
    built = build(**settings).objective.double()
    assert isinstance(built, HistObjective)
    return built


def batch(labels=(0, 0, 1, 1, 1, 4, 5, 5), *, seed: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(len(labels), DIM, generator=generator).double()
    return Batch.of(embeddings.requires_grad_(), torch.tensor(labels))


# --- a literal twin, loop by loop from the formulas ------------------------------------------


def twin_distance(z: np.ndarray, m: np.ndarray, s: np.ndarray, distance: str) -> float:
    z, m = z / max(np.linalg.norm(z), 1e-12), m / max(np.linalg.norm(m), 1e-12)
    variance = np.exp(np.clip(s, 0, 6))
    return {
        "mahalanobis": ((z - m) ** 2 / variance).sum(),
        "euclidean": ((z - m) ** 2).sum(),
        "manhattan": np.abs(z - m).sum(),
        "cosine": 1 - z @ m,
    }[distance]


def twin_log_softmax(scores: np.ndarray) -> np.ndarray:
    top = scores.max()
    return scores - top - math.log(sum(math.exp(score - top) for score in scores))


def twin(x: np.ndarray, y: np.ndarray, state: dict, params: HistParams) -> dict[str, float]:
    count = len(x)
    classes = list(zip(state["means"], state["log_vars"], strict=True))
    d = np.array([[twin_distance(row, m, s, params.distance) for m, s in classes] for row in x])
    dist_loss = -np.mean([twin_log_softmax(-params.tau * d[n])[y[n]] for n in range(count)])

    edges = sorted(set(y.tolist()))
    h = np.exp(-params.alpha * d[:, edges])
    for n in range(count):
        h[n, edges.index(y[n])] = 1
    dv, de = h.sum(1), h.sum(0)
    g = np.zeros((count, count))
    for a in range(count):
        for b in range(count):
            g[a, b] = sum(h[a, j] * h[b, j] / de[j] for j in range(len(edges)))
            g[a, b] /= math.sqrt(dv[a] * dv[b])

    hidden = x
    for layer in range(1, params.hgnn_layers):
        hidden = g @ (hidden @ state[f"theta{layer}.weight"].T + state[f"theta{layer}.bias"])
        hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5)
        hidden = hidden * state[f"bn{layer}.weight"] + state[f"bn{layer}.bias"]
        hidden = np.where(hidden > 0, hidden, 0.1 * hidden)
    last = params.hgnn_layers
    logits = g @ (hidden @ state[f"theta{last}.weight"].T + state[f"theta{last}.bias"])
    ce_loss = -np.mean([twin_log_softmax(logits[n])[y[n]] for n in range(count)])
    return {
        "loss": dist_loss + params.lambda_s * ce_loss,
        "dist_loss": dist_loss,
        "ce_loss": ce_loss,
    }


@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("distance", DISTANCES)
def test_loss_and_terms_follow_the_formulas(distance: str, layers: int):
    params = {"distance": distance, "hgnn_layers": layers, "tau": 9, "alpha": 1.3, "lambda_s": 0.7}
    loss, data = objective(**params), batch()

    terms = loss(data, Progress())

    state = {name: value.detach().numpy() for name, value in loss.state_dict().items()}
    expected = twin(data.embeddings.detach().numpy(), data.labels.numpy(), state, loss.params)
    assert {k: v.item() for k, v in terms.items()} == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("distance", DISTANCES)
def test_gradients_agree_with_finite_differences(distance: str):
    loss = objective(num_classes=3, distance=distance, tau=3, hgnn_hidden=3)
    data = batch([0, 0, 2, 2, 2])
    names, values = zip(*loss.named_parameters(), strict=True)

    def total(embeddings: torch.Tensor, *learnable: torch.Tensor) -> torch.Tensor:
        given = dict(zip(names, learnable, strict=True))
        moved = Batch.of(embeddings, data.labels)
        return torch.func.functional_call(loss, given, (moved, Progress()))["loss"]

    assert torch.autograd.gradcheck(total, (data.embeddings, *values))


def test_gradient_flows_through_the_hypergraph_into_the_distributions():
    loss = objective()

    loss(batch(), Progress())["ce_loss"].backward()

    assert loss.means.grad.abs().max() > 0
    assert loss.log_vars.grad.abs().max() > 0


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_of_float32_are_those_of_float64_to_rounding(distance: str):
    generator = torch.Generator().manual_seed(0)
    x, m, s = (torch.randn(n, 512, generator=generator) for n in (32, 100, 100))
    x[:10] = 5 * m[:10] + 1e-3 * x[:10]  # near their class, where expanding the square cancels

    found = class_distances(x, m, s, distance=distance)

    exact = class_distances(x.double(), m.double(), s.double(), distance=distance)
    # Manhattan distances reach 26 here, the others 4
    assert (found - exact).abs().max() < (5e-5 if distance == "manhattan" else 2e-6)


# --- degenerate cases ------------------------------------------------------------------------


UNDERFLOW = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.1, 0.0]]).double(), torch.tensor([0, 0, 0])


def test_samples_whose_probability_underflows_are_left_out_of_the_mean():
    distances, labels = UNDERFLOW

    loss = distribution_loss(distances, labels, tau=1000.0, stable=False)

    # the second sample has probability exp(-1000) = 0; the third exp(-100)
    assert loss.item() == pytest.approx((0 + 100) / 2)


def test_stable_option_keeps_every_sample():
    distances, labels = UNDERFLOW

    loss = distribution_loss(distances, labels, tau=1000.0, stable=True)

    assert loss.item() == pytest.approx((0 + 1000 + 100) / 3)


def test_all_samples_underflowing_is_nan_unless_stable():
    distances, labels = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([0])

    assert distribution_loss(distances, labels, tau=1000.0, stable=False).isnan()
    assert distribution_loss(distances, labels, tau=1000.0, stable=True).item() == 1000


def test_stable_option_changes_nothing_where_nothing_underflows():
    usual, stable = objective(stable=False), objective(stable=True)

    assert torch.equal(usual(batch(), Progress())["loss"], stable(batch(), Progress())["loss"])


def test_single_class_batch_mixes_all_samples_equally():
    labels = torch.zeros(4, dtype=torch.long)

    matrix = propagation_matrix(torch.rand(4, 3), labels, alpha=0.9)

    torch.testing.assert_close(matrix, torch.full((4, 4), 1 / 4))


def test_alpha_zero_mixes_all_samples_equally():
    labels = torch.tensor([0, 1, 1, 2])

    matrix = propagation_matrix(torch.rand(4, 3), labels, alpha=0.0)

    torch.testing.assert_close(matrix, torch.full((4, 4), 1 / 4))


def test_propagation_by_hand():
    # Classes far apart and alpha large: two separate edges, of two samples and of one.
    labels = torch.tensor([1, 0, 1])
    distances = torch.full((3, 2), 50.0)

    matrix = propagation_matrix(distances, labels, alpha=10.0)

    expected = torch.tensor([[0.5, 0, 0.5], [0, 1, 0], [0.5, 0, 0.5]])
    torch.testing.assert_close(matrix, expected)


def test_two_training_classes_still_have_a_distribution_loss():
    loss = objective(num_classes=2)

    terms = loss(batch([0, 0, 1, 1]), Progress())

    assert terms["dist_loss"].item() > 0


def test_class_outside_the_batch_still_gets_a_gradient():
    loss = objective()

    loss(batch(), Progress())["loss"].backward()

    assert loss.means.grad[3].abs().max() > 0


def test_one_sample_is_refused():
    with pytest.raises(HarnessError, match="at least 2 samples in a batch, got 1") as caught:
        objective()(batch([2]), Progress())

    assert caught.value.hint == "raise training.batch_size"


@pytest.mark.parametrize("label", [-1, CLASSES])
def test_label_outside_the_classes_is_refused(label: int):
    with pytest.raises(HarnessError, match=rf"label {label} is outside \[0, {CLASSES}\)"):
        objective()(batch([0, label]), Progress())


def test_zero_embedding_gives_finite_gradients():
    data = Batch.of(torch.zeros(3, DIM).double().requires_grad_(), torch.tensor([0, 1, 1]))

    objective()(data, Progress())["loss"].backward()

    assert data.embeddings.grad.isfinite().all()


# --- promises --------------------------------------------------------------------------------


def test_autocast_changes_nothing():
    loss, data = objective(), batch()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(data, Progress())["loss"]

    assert torch.equal(inside, loss(data, Progress())["loss"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("distance", DISTANCES)
def test_half_precision_embeddings_are_computed_in_the_precision_of_the_parameters(
    distance: str, dtype: torch.dtype
):
    data = batch()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = objective(distance=distance)(
            Batch.of(data.embeddings.to(dtype), data.labels), Progress()
        )
    terms["loss"].backward()

    assert terms["loss"].dtype == torch.float64
    assert data.embeddings.grad.isfinite().all()


def test_state_has_the_published_names_and_shapes():
    learned = objective(hgnn_layers=3).named_parameters()

    assert {name: tuple(value.shape) for name, value in learned} == {
        "means": (CLASSES, DIM),
        "log_vars": (CLASSES, DIM),
        "theta1.weight": (HIDDEN, DIM),
        "theta1.bias": (HIDDEN,),
        "bn1.weight": (HIDDEN,),
        "bn1.bias": (HIDDEN,),
        "theta2.weight": (HIDDEN, HIDDEN),
        "theta2.bias": (HIDDEN,),
        "bn2.weight": (HIDDEN,),
        "bn2.bias": (HIDDEN,),
        "theta3.weight": (CLASSES, HIDDEN),
        "theta3.bias": (CLASSES,),
    }


def test_state_without_running_statistics_loads_strictly_and_keeps_them():
    loss = objective()
    loss(batch(), Progress())
    before = loss.get_buffer("bn1.running_mean").clone()
    learned = {name: value.detach() for name, value in objective(seed=1).named_parameters()}

    loss.load_state_dict(learned)

    assert torch.equal(loss.means, learned["means"])
    assert torch.equal(loss.get_buffer("bn1.running_mean"), before)


def test_state_with_a_missing_parameter_is_refused():
    state = objective().state_dict()
    del state["theta1.bias"]

    with pytest.raises(RuntimeError, match=r"Missing key.*theta1\.bias"):
        objective().load_state_dict(state)


def test_optimizer_groups_are_those_of_the_authors():
    parts = build(lr_ds=0.2, lr_hgnn_factor=5)

    distributions, network = parts.param_groups

    names = {id(parameter): name for name, parameter in parts.objective.named_parameters()}
    assert [names[id(p)] for p in distributions.params] == ["means", "log_vars"]
    assert (distributions.lr, network.lr, network.lr_scale) == (0.2, None, 5)
    assert len(distributions.params) + len(network.params) == len(names)


def test_initial_values_have_the_published_spread():
    context = BuildContext(num_classes=200, embedding_dim=128, generator=torch.Generator())
    loss = build_hist(HistParams(), context).objective

    state = loss.state_dict()

    assert state["means"].std().item() == pytest.approx(math.sqrt(2 / 200), rel=0.02)
    assert state["log_vars"].std().item() == pytest.approx(math.sqrt(2 / 200), rel=0.02)
    for name, inputs in (("theta1", 128), ("theta2", 512)):
        bound = 1 / math.sqrt(inputs)
        for part in ("weight", "bias"):
            values = state[f"{name}.{part}"]
            assert bound * 0.98 < values.abs().max() <= bound
            assert values.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.06)


def test_memory_does_not_grow_with_the_product_of_batch_classes_and_dimensions():
    # (B, C, D) would be 32 * 2000 * 512 floats, 131 MB; watch the largest tensor that is saved.
    context = BuildContext(num_classes=2000, embedding_dim=512)
    loss = build_hist(HistParams(), context).objective
    sizes: list[int] = []
    data = Batch.of(torch.randn(32, 512, requires_grad=True), torch.arange(32))

    def note(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, note):
        loss(data, Progress())["loss"].backward()

    assert max(sizes) <= 2000 * 512
