"""Files a cut-off run goes on from, and the weights of the best epoch so far.

A checkpoint holds everything the next epoch depends on: encoder, objective and miner with their
buffers, optimizers, gradient scaler, the generators that loss and miner draw from, and the step
count. Global random streams are not in it, because `fit` seeds them at each epoch; neither are
learning rates, which are a function of the epoch.
"""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.errors import HarnessError
from harness.training.learner import Learner

logger = logging.getLogger(__name__)

FORMAT = 1  # raised when the content of a checkpoint changes
PLAIN = (type(None), bool, int, float, str, torch.Tensor)


def save(path: Path, learner: Learner, *, run_key: str, payload: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: Replaced if it exists.
        learner: As `fit` leaves it when it yields.
        run_key: Only a run with this key can load it.
        payload: Of the caller: numbers, strings, None, tensors, and lists and dicts of them.

    Raises:
        HarnessError: The file cannot be written.
    """
    _assert_plain(payload, "payload")
    _write(
        path,
        {
            "format": FORMAT,
            "run_key": run_key,
            "steps": learner.counter.steps,
            "modules": {name: part.state_dict() for name, part in _modules(learner).items()},
            "optimizers": [optimizer.state_dict() for optimizer in learner.optimizers],
            "scaler": learner.scaler.state_dict(),
            "generators": [generator.get_state() for generator in learner.generators],
            "payload": dict(payload),
        },
    )


def load(path: Path, learner: Learner, *, run_key: str) -> dict[str, Any] | None:
    """Bring a learner to the state of a checkpoint and return the payload saved with it.

    None means there is no checkpoint to go on from, and the learner is as it was. A file that is
    damaged, or belongs to another run or version, is left alone and the reason is logged.
    """
    if not path.exists():
        return None
    try:
        state = _read(path)
        _check(state, learner, run_key)
    except _UnusableError as error:
        logger.warning("starting over, %s cannot be used: %s", path, error)
        return None
    for name, module in _modules(learner).items():
        module.load_state_dict(state["modules"][name])
    for optimizer, saved in zip(learner.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    learner.scaler.load_state_dict(state["scaler"])
    for generator, saved in zip(learner.generators, state["generators"], strict=True):
        generator.set_state(saved)
    learner.counter.steps = state["steps"]
    return state["payload"]


def save_weights(path: Path, learner: Learner) -> None:
    """Write what evaluation depends on: encoder and objective, whole or not at all.

    Raises:
        HarnessError: The file cannot be written.
    """
    modules = {"encoder": learner.encoder, "objective": learner.objective}
    _write(path, {"format": FORMAT, "modules": {k: m.state_dict() for k, m in modules.items()}})


def load_weights(path: Path, learner: Learner) -> None:
    """Bring encoder and objective to the state that `save_weights` wrote.

    Raises:
        HarnessError: The file is missing, damaged, or of other modules.
    """
    modules = {"encoder": learner.encoder, "objective": learner.objective}
    try:
        state = _read(path)
        for name, module in modules.items():
            _check_module(name, module, state["modules"][name])
    except (_UnusableError, KeyError, OSError) as error:
        raise HarnessError(
            f"the weights in {path} cannot be read: {error}",
            hint="remove the folder of this run's checkpoints and run again",
        ) from error
    for name, module in modules.items():
        module.load_state_dict(state["modules"][name])


class _UnusableError(Exception):
    """A file does not fit the learner; says why."""


def _modules(learner: Learner) -> dict[str, nn.Module]:
    """Return the modules a checkpoint holds, by the names it gives them."""
    modules: dict[str, nn.Module] = {"encoder": learner.encoder, "objective": learner.objective}
    if isinstance(learner.miner, nn.Module):
        modules["miner"] = learner.miner
    return modules


def _assert_plain(value: object, where: str) -> None:
    """Fail at once on what could be written, but not read with weights_only=True."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _assert_plain(inner, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _assert_plain(inner, f"{where}[{index}]")
    else:
        # the very type: a NumPy float is a float, but is pickled as NumPy's
        assert type(value) in PLAIN, f"{where} is a {type(value).__name__}"


def _write(path: Path, state: Mapping[str, Any]) -> None:
    """Replace a file in one moment, on disk when this returns."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except (OSError, RuntimeError) as error:  # a full disk is a RuntimeError of torch
        temporary.unlink(missing_ok=True)
        raise HarnessError(
            f"the checkpoint {path} cannot be written: {error}",
            hint="make room, or choose another folder for the store",
        ) from error


def _read(path: Path) -> dict[str, Any]:
    """Return what `_write` wrote, after checking every byte of it.

    torch.load ignores the checksums of its own format: one flipped bit would be a wrong weight.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        state = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling damaged bytes can raise anything
        raise _UnusableError(f"it is damaged ({type(error).__name__}: {error})") from error
    if not isinstance(state, dict):
        raise _UnusableError(f"its record {damaged} is damaged" if damaged else "it is foreign")
    return state


def _check(state: Mapping[str, Any], learner: Learner, run_key: str) -> None:
    """Refuse a checkpoint before any of it is loaded: half a state would be worse than none."""
    if state.get("format") != FORMAT:
        raise _UnusableError(f"it has format {state.get('format')}, this version reads {FORMAT}")
    if state.get("run_key") != run_key:
        raise _UnusableError(f"it belongs to run {state.get('run_key')}, not to {run_key}")
    modules = _modules(learner)
    if state["modules"].keys() != modules.keys():
        raise _UnusableError(f"it holds {sorted(state['modules'])}, not {sorted(modules)}")
    for name, module in modules.items():
        _check_module(name, module, state["modules"][name])
    groups = [_shape_of(optimizer.state_dict()) for optimizer in learner.optimizers]
    if [_shape_of(saved) for saved in state["optimizers"]] != groups:
        raise _UnusableError("it has other parameter groups")
    if len(state["generators"]) != len(learner.generators):
        raise _UnusableError(f"it holds {len(state['generators'])} random generators")


def _check_module(name: str, module: nn.Module, saved: Mapping[str, Any]) -> None:
    """Refuse a state dict whose names or shapes are not the module's."""
    current = module.state_dict()
    for key in sorted(current.keys() ^ saved.keys()):
        raise _UnusableError(f"{name} and file differ in {key!r}")
    for key, value in current.items():
        shape, found = getattr(value, "shape", None), getattr(saved[key], "shape", None)
        if shape != found:
            raise _UnusableError(f"{name} has {key!r} of shape {shape}, the file {found}")


def _shape_of(optimizer: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return name and length of each parameter group of an optimizer's state."""
    return [(group["name"], len(group["params"])) for group in optimizer["param_groups"]]
