"""How golden cases of Proxy-ISA are replayed: sequences of steps that change its state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

import harness
from harness.api import Batch, HarnessError, LossParts
from harness.testing.golden import Case, Numbers, gradients, leaf, refuse_unknown, tensor
from harness_proxy_isa.objective import ProxyIsaObjective

STATE = ("counter", "effective_num", "learned_sim", "memory")
NAMES = {"V": "v"}  # theirs to ours, where they differ


def replay_proxy_isa(case: Case, dtype: torch.dtype) -> Numbers:
    """Run the steps of a case, with the phase flags of each."""
    refuse_unknown(case.inputs, ("params", "steps", "state0"))
    parts = _build(case)
    objective = parts.objective.to(dtype)
    assert isinstance(objective, ProxyIsaObjective)
    _load(objective, case.inputs, dtype)
    if case.kind == "sequence":
        steps = (_one_step(objective, step, dtype) for step in case.inputs["steps"])
    elif case.kind == "train_steps":
        steps = _optimizer_steps(objective, parts, case, dtype)
    else:
        raise HarnessError(f"unknown kind of golden case {case.kind!r}")
    return {"steps": list(steps)}


def _build(case: Case) -> LossParts:
    params = {NAMES.get(name, name): value for name, value in case.params.items()}
    optimizer = params.pop("optimizer", {})
    if "proxy_lr_factor" in optimizer:
        params["lr_scale"] = optimizer["proxy_lr_factor"]
    sizes = {"num_classes": params.pop("num_classes"), "embedding_dim": params.pop("dim")}
    # the authors' loss leaves the unit length to their network, which the vectors do not hold
    params["normalize_embeddings"] = False
    return harness.build("loss", "proxy_isa", params, **sizes)


def _load(objective: ProxyIsaObjective, inputs: Numbers, dtype: torch.dtype) -> None:
    """Load the proxies and the state; the effective number is a function of the counter."""
    state = inputs.get("state0", {})
    refuse_unknown(state, STATE, what="state")
    refuse_unknown(inputs["params"], ("proxies",), what="parameters")
    if not str(state.get("memory", "empty")).startswith("empty"):
        raise HarnessError("a case may only start from an empty memory")
    own = objective.state_dict()
    own["proxies"] = tensor(inputs["params"]["proxies"], dtype)
    if "counter" in state:
        own["counter"] = tensor(state["counter"]).to(torch.int64)
    if "learned_sim" in state:
        own["learned_sim"] = tensor(state["learned_sim"], dtype)
    objective.load_state_dict(own)
    if "effective_num" in state:
        given = tensor(state["effective_num"], dtype)
        if not torch.allclose(objective.effective_num(), given, rtol=1e-4):
            raise HarnessError("effective_num does not follow from counter")


def _loss(
    objective: ProxyIsaObjective, embeddings: Tensor, step: dict[str, Any]
) -> dict[str, Tensor]:
    refuse_unknown(step, ("embeddings", "labels", "enable_memory", "enable_filter"), what="inputs")
    return objective.step(
        Batch.of(embeddings, tensor(step["labels"])),
        memory_on=step["enable_memory"],
        filter_on=step["enable_filter"],
    )


def _numbers(objective: ProxyIsaObjective, terms: dict[str, Tensor]) -> dict[str, Any]:
    memory = objective.memory
    state = {
        "counter": objective.counter,
        "effective_num": objective.effective_num(),
        "learned_sim": objective.learned_sim,
        "memory_feats": memory.features,
        "memory_targets": memory.targets,
        "memory_ptr": memory.pointer,
        "memory_is_full_flag": memory.is_full(),
    }
    return {
        "loss": terms["loss"].detach(),
        "components": {k: v.detach() for k, v in terms.items() if k != "loss"},
        "state_after": {name: value.detach().clone() for name, value in state.items()},
    }


def _one_step(
    objective: ProxyIsaObjective, step: dict[str, Any], dtype: torch.dtype
) -> dict[str, Any]:
    embeddings = leaf(step["embeddings"], dtype)
    terms = _loss(objective, embeddings, step)
    of_embeddings, of_proxies = gradients(terms["loss"], [embeddings, objective.proxies])
    return {
        **_numbers(objective, terms),
        "grad_embeddings": of_embeddings,
        "grad_params": {"proxies": of_proxies},
    }


def _optimizer_steps(
    objective: ProxyIsaObjective, parts: LossParts, case: Case, dtype: torch.dtype
) -> Iterator[dict[str, Any]]:
    """Train the embeddings of the first step themselves, as if they were the encoder."""
    settings, steps = case.params["optimizer"], case.inputs["steps"]
    embeddings = leaf(steps[0]["embeddings"], dtype)
    learnt = [embeddings, objective.proxies]
    (proxies,) = parts.param_groups
    optimizer: torch.optim.Optimizer = getattr(torch.optim, settings["name"])(
        [
            {"params": [embeddings]},
            {"params": list(proxies.params), "lr": settings["lr"] * proxies.lr_scale},
        ],
        lr=settings["lr"],
        weight_decay=settings["weight_decay"],
    )
    for step in steps:
        optimizer.zero_grad()
        terms = _loss(objective, embeddings, step)
        terms["loss"].backward()
        if "clip_value" in settings:
            torch.nn.utils.clip_grad_value_(learnt, settings["clip_value"])
        optimizer.step()
        yield {
            **_numbers(objective, terms),
            "embeddings_after": embeddings.detach().clone(),
            "proxies_after": objective.proxies.detach().clone(),
        }
