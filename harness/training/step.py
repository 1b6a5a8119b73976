"""One training step: forward, loss, backward, update.

Shapes: B batch, K channels, H and W sides of an image, C training classes, N training rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from harness import protocol
from harness.contracts import Batch, ImageBatch, Progress
from harness.errors import HarnessError
from harness.training.encoder import Encoded
from harness.training.learner import Learner
from harness.training.meter import Stopwatch
from harness.training.optimizer import ENCODER_GROUPS, Optimizers


def take_step(
    learner: Learner, batch: ImageBatch, progress: Progress, watch: Stopwatch
) -> dict[str, Tensor]:
    """Do one forward, backward and update; return the terms of the loss."""
    device = learner.device
    images = batch.images.to(device, non_blocking=True)
    labels = batch.labels.to(device, non_blocking=True)
    sample_index = batch.sample_index.to(device, non_blocking=True)
    watch.lap("data")
    features, embeddings = _encode(learner, images)
    watch.lap("forward")
    seen = Batch(embeddings, labels, features, sample_index)
    if learner.miner is not None:
        with torch.no_grad():
            seen = replace(seen, tuples=learner.miner(seen, progress))
    terms = loss_terms(learner.objective(seen, progress))
    watch.lap("loss")
    _update(learner, terms["loss"])
    watch.lap("step")
    return terms


def _encode(learner: Learner, images: Tensor) -> Encoded:
    """Return features and embeddings; with autocast on a GPU, back in float32 for the loss."""
    precision = learner.training.precision
    if precision == "float32" or learner.device.type != "cuda":
        return learner.encoder(images)
    with torch.autocast(learner.device.type, dtype=getattr(torch, precision)):
        encoded: Encoded = learner.encoder(images)
    return Encoded(encoded.features.float(), encoded.embeddings.float())


def _update(learner: Learner, loss: Tensor) -> None:
    """Take one step of every optimizer down the gradient of the loss."""
    optimizers, scaler = learner.optimizers, learner.scaler
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()
    if learner.training.clip is not None:
        for optimizer in optimizers:
            scaler.unscale_(optimizer)
        clip(optimizers, learner.training.clip)
    for optimizer in optimizers:
        scaler.step(optimizer)
    scaler.update()


def clip(optimizers: Optimizers, rule: protocol.Clip) -> None:
    """Clip the gradients of the encoder's parameters, and those of the loss's on their own."""
    encoder: list[nn.Parameter] = []
    loss: list[nn.Parameter] = []
    for group in optimizers.groups:
        (encoder if group["name"] in ENCODER_GROUPS else loss).extend(group["params"])
    for parameters in (encoder, loss):
        if rule.value is not None:
            nn.utils.clip_grad_value_(parameters, rule.value)
        elif rule.norm is not None:
            nn.utils.clip_grad_norm_(parameters, rule.norm)


def loss_terms(output: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what an objective gave as named scalars, `loss` first.

    Raises:
        HarnessError: It is not a scalar or a mapping of scalars with `loss`, or has no gradient.
    """
    terms = dict(output) if isinstance(output, Mapping) else {"loss": output}
    if "loss" not in terms:
        raise HarnessError(f"the objective returns {sorted(terms)}, without an entry 'loss'")
    for name, term in terms.items():
        shape: object = getattr(term, "shape", type(term).__name__)  # a plugin may give anything
        if shape != torch.Size():
            raise HarnessError(f"term {name!r} of the objective is {shape}, not a scalar tensor")
    if not terms["loss"].requires_grad:
        raise HarnessError(
            "the loss of a batch depends on nothing that is trained",
            hint="where a batch has no tuples, return embeddings.sum() * 0",
        )
    return {"loss": terms.pop("loss"), **terms}
