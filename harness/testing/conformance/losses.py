"""Checks of what a loss computes and learns; `running` has the others.

Shapes: B batch, D embedding, F features, C training classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from harness.contracts import Batch
from harness.testing.conformance.batches import (
    BALANCED,
    EMBEDDING_DIM,
    NUM_CLASSES,
    ONE_CLASS,
    ONE_IMAGE,
    SINGLETONS,
    UNEVEN,
    LossTrial,
    loss_of,
    problem_with,
)
from harness.testing.conformance.report import Check, NotApplicableError, unless_refused
from harness.testing.conformance.running import (
    bfloat16_autocast_stays_finite,
    draws_come_from_the_generator,
    dtype_follows_the_embeddings,
    float16_autocast_stays_finite,
    state_survives_a_checkpoint,
    the_gpu_gives_the_same_loss,
    weights_come_from_the_generator,
)


def loss_is_a_finite_scalar(trial: LossTrial) -> str | None:
    """Expect one finite number that depends on the embeddings."""
    return _sound(trial, BALANCED)


def one_class_gives_a_finite_loss_or_an_error(trial: LossTrial) -> str | None:
    """Expect no NaN, no crash and no detached zero when a batch has a single class."""
    return unless_refused(lambda t: _sound(t, ONE_CLASS), trial)


def singletons_give_a_finite_loss_or_an_error(trial: LossTrial) -> str | None:
    """Expect no NaN, no crash and no detached zero when no image has a partner."""
    return unless_refused(lambda t: _sound(t, SINGLETONS), trial)


def uneven_classes_give_a_finite_loss_or_an_error(trial: LossTrial) -> str | None:
    """Expect the same of a batch in which some images have partners and one has none."""
    return unless_refused(lambda t: _sound(t, UNEVEN), trial)


def one_image_gives_a_finite_loss_or_an_error(trial: LossTrial) -> str | None:
    """Expect the same of a batch of a single image, which the end of an epoch may hold."""
    return unless_refused(lambda t: _sound(t, ONE_IMAGE), trial)


def _sound(trial: LossTrial, labels: Sequence[int]) -> str | None:
    batch = trial.batch(labels)
    return problem_with(loss_of(trial.build(), batch), batch)


# --- what is learnt -----------------------------------------------------------------------------


def every_parameter_gets_a_gradient(trial: LossTrial) -> str | None:
    """Expect that nothing learnable is left out of the loss."""
    parts = trial.build()
    loss_of(parts, trial.batch()).backward()
    idle = [n for n, p in parts.objective.named_parameters() if p.requires_grad and p.grad is None]
    return f"no gradient reaches {', '.join(idle)}" if idle else None


def the_head_learns(trial: LossTrial) -> str | None:
    """Expect a loss's own head to give (B, D), and every parameter of it a gradient."""
    parts, batch = trial.build(), trial.batch()
    if parts.head is None or batch.features is None:
        raise NotApplicableError("the loss brings no head")
    embeddings = parts.head.double()(batch.features)
    if embeddings.shape != (len(batch.labels), EMBEDDING_DIM):
        return f"the head gives {tuple(embeddings.shape)}, not (B, {EMBEDDING_DIM})"
    loss_of(parts, replace(batch, embeddings=embeddings)).backward()
    idle = [n for n, p in parts.head.named_parameters() if p.requires_grad and p.grad is None]
    return f"no gradient reaches {', '.join(idle)}" if idle else None


def parameters_are_declared(trial: LossTrial) -> str | None:
    """Expect `learnable` to be true, and groups to name parameters of the objective once."""
    parts = trial.build()
    own = {id(parameter) for parameter in parts.objective.parameters()}
    if bool(own) != trial.card.learnable:
        return (
            f"the card says learnable={trial.card.learnable}, but there are {len(own)} parameters"
        )
    named = [id(parameter) for group in parts.param_groups for parameter in group.params]
    if len(named) != len(set(named)):
        return "a parameter is in two groups"
    return None if set(named) <= own else "a group has a parameter that the objective has not"


def everything_learnable_is_registered(trial: LossTrial) -> str | None:
    """Expect that gradients flow to embeddings and parameters of the objective alone.

    What else they reach is in no optimizer and in no checkpoint.
    """
    parts, batch = trial.build(), trial.batch()
    known = {id(batch.embeddings), *map(id, parts.objective.parameters())}
    if parts.head is not None:
        known |= set(map(id, parts.head.parameters()))
    stray = [leaf for leaf in _leaves(loss_of(parts, batch)) if id(leaf) not in known]
    if not stray:
        return None
    shapes = ", ".join(str(tuple(leaf.shape)) for leaf in stray)
    return f"a gradient reaches a tensor {shapes} that is no parameter of the objective"


def _leaves(loss: Tensor) -> Iterator[Tensor]:
    """Yield the tensors whose gradients a backward pass would accumulate."""
    waiting, seen = [loss.grad_fn], set[object]()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable  # pyright: ignore[reportAttributeAccessIssue] - AccumulateGrad
        waiting += [function for function, _ in node.next_functions]


def state_is_registered(trial: LossTrial) -> str | None:
    """Expect that tensors an objective keeps are buffers: others neither move nor are saved."""
    parts = trial.build()
    loss_of(parts, trial.batch()).backward()
    loose = [
        f"{path}.{name}".removeprefix(".")
        for path, module in parts.objective.named_modules()
        for name, value in vars(module).items()
        if name not in {"_parameters", "_buffers", "_modules"} and _holds_tensor(value)
    ]
    return f"tensors that are no buffers: {', '.join(loose)}" if loose else None


def _holds_tensor(value: object) -> bool:
    if isinstance(value, list | tuple | set):
        return any(map(_holds_tensor, value))
    if isinstance(value, dict):
        return any(map(_holds_tensor, value.values()))
    return isinstance(value, Tensor)


# --- invariances --------------------------------------------------------------------------------


def order_of_the_batch_does_not_matter(trial: LossTrial) -> str | None:
    """Expect the same loss, and gradients that follow, when a batch is shuffled."""
    batch = trial.batch()
    order = torch.randperm(len(batch.labels), generator=torch.Generator().manual_seed(3))
    place = order.argsort()
    shuffled = Batch(
        batch.embeddings.detach()[order].requires_grad_(),
        batch.labels[order],
        None if batch.features is None else batch.features[order],
        None if batch.sample_index is None else batch.sample_index[order],
        None if batch.tuples is None else type(batch.tuples)(*(place[i] for i in batch.tuples)),
    )
    return _different(
        _value_and_gradient(trial, batch), _value_and_gradient(trial, shuffled), order
    )


def names_of_classes_do_not_matter(trial: LossTrial) -> str | None:
    """Expect the same loss under other labels, where the objective has no state per class."""
    if trial.build().objective.state_dict():
        raise NotApplicableError("the objective has state, which may be one of each class")
    renamed = trial.batch([NUM_CLASSES - 1 - label for label in BALANCED])
    return _different(
        _value_and_gradient(trial, trial.batch()), _value_and_gradient(trial, renamed)
    )


def _value_and_gradient(trial: LossTrial, batch: Batch) -> tuple[Tensor, Tensor]:
    loss = loss_of(trial.build(), batch)
    (gradient,) = torch.autograd.grad(loss, [batch.embeddings])
    return loss, gradient


def _different(
    one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], order: Tensor | None = None
) -> str | None:
    expected = one[1] if order is None else one[1][order]
    if not torch.allclose(one[0], other[0], rtol=1e-6, atol=1e-9):
        return f"the loss is {other[0].item():.9g} instead of {one[0].item():.9g}"
    return None if torch.allclose(expected, other[1], rtol=1e-5, atol=1e-8) else "gradients differ"


def inputs_are_left_as_they_are(trial: LossTrial) -> str | None:
    """Expect that a loss writes into none of its inputs."""
    batch = trial.batch()
    before = {n: getattr(batch, n).detach().clone() for n in ("embeddings", "labels", "features")}
    loss_of(trial.build(), batch)
    changed = [n for n, value in before.items() if not torch.equal(value, getattr(batch, n))]
    return f"{', '.join(changed)} changed in place" if changed else None


LOSS_CHECKS: tuple[Check, ...] = (
    loss_is_a_finite_scalar,
    every_parameter_gets_a_gradient,
    the_head_learns,
    parameters_are_declared,
    everything_learnable_is_registered,
    state_is_registered,
    order_of_the_batch_does_not_matter,
    names_of_classes_do_not_matter,
    one_class_gives_a_finite_loss_or_an_error,
    singletons_give_a_finite_loss_or_an_error,
    uneven_classes_give_a_finite_loss_or_an_error,
    one_image_gives_a_finite_loss_or_an_error,
    inputs_are_left_as_they_are,
    state_survives_a_checkpoint,
    weights_come_from_the_generator,
    draws_come_from_the_generator,
    dtype_follows_the_embeddings,
    bfloat16_autocast_stays_finite,
    float16_autocast_stays_finite,
    the_gpu_gives_the_same_loss,
)
