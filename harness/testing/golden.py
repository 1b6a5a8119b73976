"""Replay of numbers that were computed with the authors' code.

A golden file is a JSON list of cases. A case names its method and states parameters, inputs,
expected numbers and a tolerance per dtype. An *adapter* knows how to build the method and what to
call it with; `ADAPTERS` lists those whose vocabulary differs from ours. What a case expects and no
adapter produces is a mismatch, never skipped.

    for case in read_cases(folder):
        assert not replay(case, torch.float64)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

import harness
from harness.contracts import Batch, LossParts, Progress
from harness.errors import HarnessError

Numbers = Mapping[str, Any]

# Steps on the way to the result, kept for debugging; only results are a promise.
INFORMATIONAL = frozenset({"intermediates"})


@dataclass(frozen=True, slots=True)
class Case:
    """One golden case.

    Attributes:
        method: Whose numbers these are.
        case_id: Unique inside its file.
        kind: How the inputs are used: `single` or `train_steps`.
        content: The whole case as written.
        file: Name of the file it stands in.
    """

    method: str
    case_id: str
    kind: str
    content: Numbers
    file: str

    def tolerance(self, dtype: torch.dtype) -> tuple[float, float]:
        """Return (rtol, atol) for a dtype."""
        entry = self.content["tolerance"][str(dtype).removeprefix("torch.")]
        return entry["rtol"], entry["atol"]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Where a replay differs from a golden case."""

    place: str
    problem: str

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.place}: {self.problem}"


class Adapter(Protocol):
    """Runs a case and returns what happened under the names that the case expects."""

    def __call__(self, case: Case, dtype: torch.dtype) -> Numbers:
        """Return the numbers of a replay; HarnessError if the case cannot be run."""
        ...


def read_cases(folder: Path) -> tuple[Case, ...]:
    """Return the cases of every `*.json` in a folder, files and cases in order.

    Raises:
        HarnessError: The folder has no such file, or a file is not a list of cases.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise HarnessError(f"no golden files in {folder}", hint="set HARNESS_GOLDENS to a folder")
    return tuple(case for path in paths for case in _cases_of(path))


def _cases_of(path: Path) -> Iterator[Case]:
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(contents, list):
            raise TypeError("not a list")  # noqa: TRY301 - one message for every wrong file
        for content in contents:
            yield Case(
                method=content["method"],
                case_id=str(content["case_id"]),
                kind=content.get("kind", "single"),
                content=content,
                file=path.name,
            )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HarnessError(f"{path} is not a list of golden cases: {error!r}") from error


def replay(case: Case, dtype: torch.dtype) -> tuple[Mismatch, ...]:
    """Run a case in a dtype and return where it differs from what is expected."""
    adapter = ADAPTERS.get(case.method, LossAdapter(case.method))
    try:
        observed = adapter(case, dtype)
    except HarnessError as error:
        return (Mismatch(case.case_id, str(error)),)
    rtol, atol = case.tolerance(dtype)
    expected = {k: v for k, v in case.content["expected"].items() if k not in INFORMATIONAL}
    return tuple(compare(expected, observed, rtol=rtol, atol=atol, place=case.case_id))


# --- comparing ----------------------------------------------------------------------------------


def compare(
    expected: Any,  # noqa: ANN401 - a JSON tree
    observed: Any,  # noqa: ANN401
    *,
    rtol: float,
    atol: float,
    place: str = "",
) -> Iterator[Mismatch]:
    """Yield the differences of two trees.

    Numbers agree when max|observed - expected| <= atol + rtol max|expected| over an array;
    integers, booleans and words agree exactly. `"NaN"` and `"Infinity"` are numbers.
    """
    if isinstance(expected, Mapping):
        for key, value in expected.items():
            if not isinstance(observed, Mapping) or key not in observed:
                yield Mismatch(f"{place}/{key}", "the replay does not know this key")
            else:
                yield from compare(
                    value, observed[key], rtol=rtol, atol=atol, place=f"{place}/{key}"
                )
    elif isinstance(expected, list) and expected and isinstance(expected[0], Mapping):
        if len(expected) != len(observed):
            yield Mismatch(place, f"{len(observed)} entries, {len(expected)} expected")
        for index, (value, other) in enumerate(zip(expected, observed, strict=False)):
            yield from compare(value, other, rtol=rtol, atol=atol, place=f"{place}[{index}]")
    else:
        problem = array_difference(_array(expected), _array(observed), rtol=rtol, atol=atol)
        if problem:
            yield Mismatch(place, problem)


def array_difference(
    expected: np.ndarray, observed: np.ndarray, *, rtol: float, atol: float
) -> str | None:
    """Return what is different between two arrays, or None."""
    if expected.shape != observed.shape:
        return f"shape {observed.shape}, {expected.shape} expected"
    if expected.dtype.kind != "f":
        return None if np.array_equal(expected, observed) else f"{observed}, {expected} expected"
    finite = np.isfinite(expected)
    if not np.array_equal(expected[~finite], observed[~finite], equal_nan=True):
        return "not finite in other places than expected"
    if not finite.any():
        return None
    allowed = atol + rtol * float(np.abs(expected[finite]).max())
    worst = float(np.abs(observed[finite] - expected[finite]).max())
    return None if worst <= allowed else f"off by {worst:.3g}, {allowed:.3g} allowed"


def _array(value: Any) -> np.ndarray:  # noqa: ANN401 - a JSON leaf or a tensor
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy()
    array = np.asarray(value)
    if array.dtype.kind in "US" and array.size:
        try:
            return array.astype(np.float64)  # "NaN" and "Infinity" stand for numbers
        except ValueError:
            return array
    return array


# --- losses -------------------------------------------------------------------------------------


def _params_as_given(params: dict[str, Any]) -> dict[str, Any]:
    return params


@dataclass(frozen=True, slots=True)
class LossAdapter:
    """Replays a registered loss.

    A case's `params` are `num_classes` and `dim`, the card's own parameters, and, for optimizer
    steps, an `optimizer`; its `inputs` are embeddings, labels and the learnable parameters by the
    names of the objective's state.

    Attributes:
        name: Of the loss.
        params: Turns a case's remaining parameters into those of the card; what it leaves in
            and the card does not know is refused.
        optimizer_params: Entries of `optimizer` that are parameters of the card.
    """

    name: str
    params: Callable[[dict[str, Any]], dict[str, Any]] = field(default=_params_as_given)
    optimizer_params: tuple[str, ...] = ()

    def __call__(self, case: Case, dtype: torch.dtype) -> Numbers:
        """Run one evaluation, or optimizer steps."""
        params = dict(case.content["params"])
        optimizer = params.pop("optimizer", {})
        params |= {key: optimizer[key] for key in self.optimizer_params if key in optimizer}
        parts = harness.build(
            "loss",
            self.name,
            num_classes=params.pop("num_classes"),
            embedding_dim=params.pop("dim"),
            params=self.params(params),
        )
        parts.objective.to(dtype)
        inputs = case.content["inputs"]
        unknown = sorted(set(inputs) - {"embeddings", "labels", "params"})
        if unknown:
            raise HarnessError(f"unknown inputs: {', '.join(unknown)}")
        load_state(parts.objective, inputs.get("params", {}), dtype)
        embeddings = torch.tensor(inputs["embeddings"], dtype=dtype, requires_grad=True)
        labels = torch.tensor(inputs["labels"])
        if case.kind == "single":
            return one_evaluation(parts.objective, Batch.of(embeddings, labels))
        if case.kind == "train_steps":
            return {"steps": optimizer_steps(parts, embeddings, labels, optimizer)}
        raise HarnessError(f"unknown kind of golden case {case.kind!r}")


def load_state(objective: nn.Module, state: Numbers, dtype: torch.dtype) -> None:
    """Load parameters by name; HarnessError where names or shapes differ."""
    try:
        objective.load_state_dict({k: torch.tensor(v, dtype=dtype) for k, v in state.items()})
    except RuntimeError as error:
        raise HarnessError(" ".join(str(error).split())) from error


def one_evaluation(objective: nn.Module, batch: Batch) -> Numbers:
    """Return loss, terms, gradients (of the loss, and of each `…_loss` term) and buffers."""
    terms = objective(batch, Progress())
    terms = terms if isinstance(terms, Mapping) else {"loss": terms}
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
    return list(
        torch.autograd.grad(
            value, of, retain_graph=True, allow_unused=True, materialize_grads=True
        )
    )


def optimizer_steps(
    parts: LossParts, embeddings: Tensor, labels: Tensor, settings: Numbers
) -> list[Numbers]:
    """Train the embeddings themselves, as if they were the encoder, on the same batch."""
    lr = settings["lr"]
    groups = [{"params": [embeddings]}]
    groups += [
        {"params": list(group.params), "lr": lr * group.lr_scale if group.lr is None else group.lr}
        for group in parts.param_groups
    ]
    make = getattr(torch.optim, settings["name"])
    optimizer = make(groups, lr=lr, weight_decay=settings["weight_decay"])
    return [
        _step(parts.objective, optimizer, embeddings, labels) for _ in range(settings["steps"])
    ]


def _step(
    objective: nn.Module, optimizer: torch.optim.Optimizer, embeddings: Tensor, labels: Tensor
) -> Numbers:
    optimizer.zero_grad()
    terms = objective(Batch.of(embeddings, labels), Progress())
    terms = terms if isinstance(terms, Mapping) else {"loss": terms}
    terms["loss"].backward()
    optimizer.step()
    return {
        "loss": terms["loss"].detach(),
        "components": {k: v.detach() for k, v in terms.items() if k != "loss"},
        "embeddings_after": embeddings.detach().clone(),
        "params_after": {k: v.detach().clone() for k, v in objective.named_parameters()},
        "bn_after": {k: v.detach().clone() for k, v in objective.named_buffers()},
    }


# --- methods whose golden vocabulary differs from ours -------------------------------------------


def _hist_params(params: dict[str, Any]) -> dict[str, Any]:
    params.pop("re", None)  # marks vectors of the reproduction study; the parameters say the rest
    return params


ADAPTERS: Mapping[str, Adapter] = {
    "hist": LossAdapter("hist", params=_hist_params, optimizer_params=("lr_ds", "lr_hgnn_factor")),
}
