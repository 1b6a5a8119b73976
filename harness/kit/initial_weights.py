"""Fill a backbone with published weights or a user's own.

For the `build` of a backbone's card::

    def build(params: NoParams, context: BackboneContext) -> nn.Module:
        network = make_network()
        load_initial_weights(network, CARD.weights, context, drop=("fc.",))
        return network
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from harness.contracts import BackboneContext
from harness.errors import HarnessError
from harness.specs import WeightFile
from harness.weights import resolve

WRAPPERS = ("state_dict", "model")  # under which training scripts nest a state dict
# what unpickling a damaged file may raise, beside UnpicklingError (see `pickle`)
DAMAGED = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    ImportError,
    AssertionError,
    OverflowError,
    MemoryError,
    struct.error,
)


def load_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a state dict by name, on the CPU.

    The file may nest it under `state_dict` or `model`, and may have been saved from a
    data-parallel model, whose prefix `module.` is removed. Code inside the file is never run.

    Raises:
        HarnessError: The file cannot be read, or holds something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise HarnessError(f"cannot read {path}: {error.strerror or error}") from error
    except DAMAGED as error:
        raise HarnessError(
            f"{path} holds no state dict: it is damaged, or a whole model was pickled",
            hint="save one with torch.save(model.state_dict(), path)",
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        what = "an empty one" if content == {} else f"a value of type {type(content).__name__}"
        raise HarnessError(f"{path} holds no state dict, but {what}")
    for name, value in content.items():
        if not isinstance(value, Tensor) or not isinstance(name, str):
            raise HarnessError(
                f"{path} holds no state dict: {name!r} is of type {type(value).__name__}",
                hint=f"nest the state dict under {' or '.join(map(repr, WRAPPERS))}",
            )
    prefix = "module." if all(name.startswith("module.") for name in content) else ""
    return {name.removeprefix(prefix): value for name, value in content.items()}


def load_initial_weights(
    module: nn.Module,
    published: Mapping[str, WeightFile],
    context: BackboneContext,
    *,
    drop: Sequence[str] = (),
    read: Callable[[Path], Mapping[str, Tensor]] = load_state_dict,
) -> None:
    """Fill a backbone with the weights its protocol asks for; `none` leaves it as it is.

    Args:
        module: Changed in place.
        published: The weights on the backbone's card.
        context: As the card's `build` was given it.
        drop: Prefixes of names that the file may hold and the backbone has no place for, such as
            its classifier (`fc.`).
        read: File -> tensors under the names of the module.

    Raises:
        HarnessError: As `resolve` and `load_state_dict` say; or a name is missing or left over,
            or a shape differs.
    """
    path = resolve(published, context)
    if path is None:
        return
    own = module.state_dict()
    state = {
        name: _without_leading_one(tensor, own.get(name))
        for name, tensor in read(path).items()
        if not name.startswith(tuple(drop))
    }
    counters = {name for name in own if name.endswith("num_batches_tracked")}  # since torch 0.4.1
    problems = {
        "missing": sorted(own.keys() - state.keys() - counters),
        "unknown": sorted(state.keys() - own.keys()),
        "of another shape": sorted(
            name for name in state.keys() & own.keys() if state[name].shape != own[name].shape
        ),
    }
    found = [f"{_some(names)} {what}" for what, names in problems.items() if names]
    if found:
        raise HarnessError(f"{path} does not fit this backbone: {'; '.join(found)}")
    module.load_state_dict(state)


def _without_leading_one(tensor: Tensor, own: Tensor | None) -> Tensor:
    """Return (1, C) as (C,) where the module has (C,): torch 0.1 kept batch norms that way."""
    if own is not None and tensor.shape == (1, *own.shape):
        return tensor[0]
    return tensor


def _some(names: Sequence[str], most: int = 3) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
