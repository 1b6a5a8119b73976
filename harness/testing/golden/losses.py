"""Replay of a registered loss, and the parts that other adapters are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import harness
from harness.contracts import Batch, LossParts, Progress
from harness.testing.golden.cases import Case, Numbers, ReplayError
from harness.testing.golden.reading import batch_of, refuse_unknown, tensor

INPUTS = ("embeddings", "labels", "triplets", "params", "learnables")


def _params_as_given(params: dict[str, Any]) -> dict[str, Any]:
    return params


@dataclass(frozen=True, slots=True)
class LossAdapter:
    """Replays a registered loss.

    A case's `params` are `num_classes` (else 1 + the largest label), `dim` (else the width of the
    embeddings), the card's own parameters, and, for optimizer steps, an `optimizer`; its `inputs`
    are embeddings, labels, (T, 3) `triplets` and the learnable parameters, called `params` or
    `learnables`.

    Attributes:
        name: Of the loss.
        params: Turns a case's remaining parameters into those of the card; what it leaves in
            and the card does not know is refused.
        optimizer_params: Entries of `optimizer` that are parameters of the card.
        names: The authors' name of a learnable parameter to ours, where they differ.
        terms: The authors' name of a term to ours; such a number is expected beside `loss`.
    """

    name: str
    params: Callable[[dict[str, Any]], dict[str, Any]] = field(default=_params_as_given)
    optimizer_params: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    terms: Mapping[str, str] = field(default_factory=dict[str, str])

    def __call__(self, case: Case, dtype: torch.dtype) -> Numbers:
        """Run one evaluation, or optimizer steps."""
        refuse_unknown(case.inputs, INPUTS)
        batch = batch_of(case, dtype)
        parts = self.build(case, batch)
        parts.objective.to(dtype)
        state = case.inputs.get("params") or case.inputs.get("learnables") or {}
        load_state(parts.objective, {self.names.get(k, k): v for k, v in state.items()}, dtype)
        if case.kind == "single":
            return self._renamed(one_evaluation(parts.objective, batch))
        if case.kind == "train_steps":
            settings = case.params["optimizer"]
            batches = [batch] * settings["steps"]
            return {"steps": optimizer_steps(parts, batches, settings)}
        raise ReplayError(f"unknown kind of golden case {case.kind!r}")

    def build(self, case: Case, batch: Batch) -> LossParts:
        """Build the loss with a case's parameters."""
        params = dict(case.params)
        optimizer = params.pop("optimizer", {})
        params |= {key: optimizer[key] for key in self.optimizer_params if key in optimizer}
        return harness.build(
            "loss",
            self.name,
            num_classes=params.pop("num_classes", int(batch.labels.max()) + 1),
            embedding_dim=params.pop("dim", batch.embeddings.shape[1]),
            params=self.params(params),
        )

    def _renamed(self, numbers: dict[str, Any]) -> Numbers:
        """Add the authors' names to ours."""
        ours = numbers["grad_params"]
        theirs = {their: ours[our] for their, our in self.names.items() if our in ours}
        numbers["grad_params"] = numbers["grad_learnables"] = {**ours, **theirs}
        components = numbers["components"]
        found = {name: components[our] for name, our in self.terms.items() if our in components}
        return {**numbers, **found}


def load_state(objective: nn.Module, state: Numbers, dtype: torch.dtype) -> None:
    """Load parameters by name; ReplayError where names or shapes differ."""
    try:
        objective.load_state_dict({name: tensor(value, dtype) for name, value in state.items()})
    except RuntimeError as error:
        raise ReplayError(" ".join(str(error).split())) from error


def one_evaluation(objective: nn.Module, batch: Batch) -> dict[str, Any]:
    """Return loss, terms, gradients (of the loss, and of each `…_loss` term) and buffers."""
    terms = _terms(objective, batch)
    learnable = dict(objective.named_parameters())
    numbers: dict[str, Any] = {
        "loss": terms["loss"],
        "components": {name: value for name, value in terms.items() if name != "loss"},
    }
    for name, value in terms.items():
        if name.endswith("_loss"):
            numbers[f"grad_embeddings_{name.removesuffix('_loss')}_only"] = gradients(
                value, [batch.embeddings]
            )[0]
    first, *others = gradients(terms["loss"], [batch.embeddings, *learnable.values()])
    numbers["grad_embeddings"] = first
    numbers["grad_params"] = dict(zip(learnable, others, strict=True))
    numbers["state_after"] = dict(objective.named_buffers())
    return numbers


def gradients(value: Tensor, of: Sequence[Tensor]) -> list[Tensor]:
    """Return gradients with zeros where `value` does not depend on a tensor; keep the graph."""
    if not value.requires_grad:
        return [torch.zeros_like(each) for each in of]
    return list(
        torch.autograd.grad(
            value, of, retain_graph=True, allow_unused=True, materialize_grads=True
        )
    )


def optimizer_steps(
    parts: LossParts, batches: Iterable[Batch], settings: Numbers
) -> list[dict[str, Any]]:
    """Train the embeddings of the first batch themselves, as if they were the encoder.

    Each later batch gives its labels and tuples only. `settings` are `name`, `lr` and
    `weight_decay`, a `clip_value` for each gradient's entries, and `proxy_lr_factor` for
    parameters of the objective that are in none of its groups.
    """
    batches = list(batches)
    embeddings = batches[0].embeddings
    named = {"embeddings": embeddings, **dict(parts.objective.named_parameters())}
    make = getattr(torch.optim, settings["name"])
    optimizer = make(
        _groups(parts, embeddings, settings),
        lr=settings["lr"],
        weight_decay=settings["weight_decay"],
    )
    steps: list[dict[str, Any]] = []
    for batch in batches:
        optimizer.zero_grad()
        terms = _terms(parts.objective, Batch.of(embeddings, batch.labels, tuples=batch.tuples))
        terms["loss"].backward()
        numbers = _clipped(named, settings.get("clip_value"))
        optimizer.step()
        steps.append(numbers | _after(parts.objective, terms, named))
    return steps


def _groups(parts: LossParts, embeddings: Tensor, settings: Numbers) -> list[dict[str, Any]]:
    lr = settings["lr"]
    named = {id(parameter) for group in parts.param_groups for parameter in group.params}
    rest = [p for p in parts.objective.parameters() if id(p) not in named]
    groups: list[dict[str, Any]] = [
        {
            "params": list(group.params),
            "lr": lr * group.lr_scale if group.lr is None else group.lr,
            "weight_decay": settings["weight_decay"]
            if group.weight_decay is None
            else group.weight_decay,
        }
        for group in parts.param_groups
    ]
    if rest:
        groups.append({"params": rest, "lr": lr * settings.get("proxy_lr_factor", 1)})
    return [{"params": [embeddings]}, *groups]


def _clipped(named: Mapping[str, Tensor], most: float | None) -> dict[str, Any]:
    """Clip gradients in place and return them; nothing where a case clips nothing."""
    if most is None:
        return {}
    grads = {name: value.grad for name, value in named.items() if value.grad is not None}
    largest = max(grad.abs().max() for grad in grads.values())
    for grad in grads.values():
        grad.clamp_(-most, most)
    clipped = {f"clipped_grad_{name}": grad.clone() for name, grad in grads.items()}
    return {"max_abs_grad_before_clip": largest, **clipped}


def _after(
    objective: nn.Module, terms: Mapping[str, Tensor], named: Mapping[str, Tensor]
) -> dict[str, Any]:
    buffers = {name: value.detach().clone() for name, value in objective.named_buffers()}
    values = {name: value.detach().clone() for name, value in named.items()}
    return {
        "loss": terms["loss"].detach(),
        "components": {k: v.detach() for k, v in terms.items() if k != "loss"},
        "params_after": {name: v for name, v in values.items() if name != "embeddings"},
        "bn_after": buffers,
        "state_after": buffers,
        **{f"{name}_after": value for name, value in values.items()},
    }


def _terms(objective: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
    terms = objective(batch, Progress())
    return terms if isinstance(terms, Mapping) else {"loss": terms}
