"""Proxy-Anchor against a loop over its definition, the library's class, and odd batches."""

import math

import numpy as np
import pytest
import torch
from harness_pml.own_losses import ProxyAnchorParams, build_proxy_anchor
from pytorch_metric_learning.losses import ProxyAnchorLoss

from harness.api import Batch, BuildContext, HarnessError, LossParts, Progress

CLASSES, DIM = 5, 6


def build(*, num_classes: int = CLASSES, **params) -> LossParts:
    context = BuildContext(
        num_classes=num_classes, embedding_dim=DIM, generator=torch.Generator().manual_seed(0)
    )
    parts = build_proxy_anchor(ProxyAnchorParams(**params), context)
    parts.objective.double()
    return parts


def batch(labels=(0, 0, 1, 1, 1, 4)) -> Batch:
    generator = torch.Generator().manual_seed(3)
    embeddings = torch.randn(len(labels), DIM, generator=generator).double()
    return Batch.of(embeddings.requires_grad_(), torch.tensor(labels))


def twin(x: np.ndarray, y: list[int], proxies: np.ndarray) -> dict[str, float]:
    unit = [row / math.sqrt((row**2).sum() + 1e-12) for row in x]
    positive, negative = [], []
    for k, proxy in enumerate(proxies):
        near = [p @ proxy / np.linalg.norm(proxy) for p, c in zip(unit, y, strict=True) if c == k]
        far = [p @ proxy / np.linalg.norm(proxy) for p, c in zip(unit, y, strict=True) if c != k]
        positive += [math.log(1 + sum(math.exp(-8 * (c - 0.2)) for c in near))] if near else []
        negative += [math.log(1 + sum(math.exp(8 * (c + 0.2)) for c in far))]
    terms = {"pos_term": np.mean(positive), "neg_term": np.mean(negative)}
    return {"loss": terms["pos_term"] + terms["neg_term"], **terms}


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 1, 4], [2, 2, 2], [0, 1, 2, 3, 4]])
def test_loss_and_terms_follow_the_definition(labels: list[int]):
    parts, data = build(alpha=8, margin=0.2), batch(labels)

    terms = parts.objective(data, Progress())

    proxies = parts.objective.proxies.detach().numpy()
    expected = twin(data.embeddings.detach().numpy(), labels, proxies)
    assert {k: v.item() for k, v in terms.items()} == pytest.approx(expected, rel=1e-9)


def test_away_from_the_origin_it_is_the_class_of_the_library():
    parts, ours, others = build(), batch(), batch()
    theirs = ProxyAnchorLoss(CLASSES, DIM, margin=0.1, alpha=32).double()
    theirs.load_state_dict(parts.objective.state_dict())

    found = parts.objective(ours, Progress())["loss"]
    expected = theirs(others.embeddings, others.labels)

    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)
    for a, b in zip(
        torch.autograd.grad(found, [ours.embeddings, parts.objective.proxies]),
        torch.autograd.grad(expected, [others.embeddings, theirs.proxies]),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_two_training_classes_have_two_columns():
    parts, data = build(num_classes=2, alpha=8, margin=0.2), batch([0, 0, 1])

    loss = parts.objective(data, Progress())["loss"].item()

    proxies = parts.objective.proxies.detach().numpy()
    expected = twin(data.embeddings.detach().numpy(), [0, 0, 1], proxies)
    assert loss == pytest.approx(expected["loss"], rel=1e-9)


def test_a_large_scale_does_not_overflow_in_single_precision():
    parts, data = build(alpha=1000), batch()
    parts.objective.float()

    loss = parts.objective(data, Progress())["loss"]
    loss.backward()

    assert loss.isfinite()
    assert data.embeddings.grad.isfinite().all()


def test_a_label_outside_the_classes_is_refused():
    with pytest.raises(HarnessError, match=r"label 5 is outside \[0, 5\)"):
        build().objective(batch([0, CLASSES]), Progress())


def test_proxies_are_one_group_at_a_hundred_times_the_rate():
    parts = build()

    (group,) = parts.param_groups

    assert (group.lr_scale, group.lr) == (100, None)
    assert group.params == [parts.objective.proxies]
