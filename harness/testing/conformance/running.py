"""Checks of a loss in a run: resumed, seeded, in other precisions, on other devices."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.contracts import Batch, LossParts, Progress
from harness.testing.conformance.batches import (
    LossTrial,
    global_stream,
    loss_of,
    moved,
    problem_with,
    scalar,
)
from harness.testing.conformance.report import NotApplicableError

# --- checkpoints and randomness -----------------------------------------------------------------


def state_survives_a_checkpoint(trial: LossTrial) -> str | None:
    """Expect that an objective which loads the state of another goes on as that one does.

    The state of the generator is part of a checkpoint.
    """
    streams = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    first, second = (trial.build(generator=stream) for stream in streams)
    _step(first, trial.batch())
    second.objective.load_state_dict(first.objective.state_dict())
    streams[1].set_state(streams[0].get_state())
    expected, found = _step(first, trial.batch()), _step(second, trial.batch())
    if not torch.equal(expected, found):
        return f"the next loss is {found.item():.9g} instead of {expected.item():.9g}"
    after = first.objective.state_dict()
    resumed = second.objective.state_dict()
    differing = [name for name in after if not torch.equal(after[name], resumed[name])]
    return f"after the next step {', '.join(differing)} differ" if differing else None


def _step(parts: LossParts, batch: Batch) -> Tensor:
    """Descend once, and return the loss before that."""
    parts.objective.zero_grad()
    loss = loss_of(parts, batch)
    loss.backward()
    with torch.no_grad():
        for parameter in parts.objective.parameters():
            parameter.sub_(0 if parameter.grad is None else 0.01 * parameter.grad)
    return loss.detach()


def weights_come_from_the_generator(trial: LossTrial) -> str | None:
    """Expect equal weights for equal generators, and an untouched global stream."""
    with global_stream(1):
        before = torch.get_rng_state()
        first = trial.build(seed=5).objective.state_dict()
        if not torch.equal(before, torch.get_rng_state()):
            return "building draws from torch's global stream"
    with global_stream(2):
        second = trial.build(seed=5).objective.state_dict()
    differing = [name for name in first if not torch.equal(first[name], second[name])]
    return f"two builds with one seed differ in {', '.join(differing)}" if differing else None


def draws_come_from_the_generator(trial: LossTrial) -> str | None:
    """Expect the same loss whatever state torch's global stream is in."""
    first, second = (loss_of(trial.build(), trial.batch(), seed=seed) for seed in (1, 2))
    if torch.equal(first, second):
        return None
    return f"the loss is {first.item():.9g} or {second.item():.9g}, as the global stream says"


# --- numbers and devices ------------------------------------------------------------------------


def dtype_follows_the_embeddings(trial: LossTrial) -> str | None:
    """Expect a float32 and a float64 loss from one program, and nearly the same number."""
    losses = {
        dtype: loss_of(trial.build(dtype=dtype), trial.batch(dtype=dtype))
        for dtype in (torch.float32, torch.float64)
    }
    for dtype, loss in losses.items():
        if loss.dtype != dtype:
            return f"{dtype} embeddings give a {loss.dtype} loss"
    single, double = (loss.double() for loss in losses.values())
    if torch.allclose(single, double, rtol=1e-3, atol=1e-4):
        return None
    return f"the loss is {single.item():.6g} in float32, {double.item():.6g} in float64"


def bfloat16_autocast_stays_finite(trial: LossTrial) -> str | None:
    """Expect a finite loss of bfloat16 embeddings under autocast."""
    return _under_autocast(trial, torch.bfloat16)


def float16_autocast_stays_finite(trial: LossTrial) -> str | None:
    """Expect a finite loss of float16 embeddings under autocast."""
    return _under_autocast(trial, torch.float16)


def _under_autocast(trial: LossTrial, dtype: torch.dtype) -> str | None:
    batch = trial.batch(dtype=dtype)
    parts = trial.build(dtype=torch.float32)
    with torch.autocast("cpu", dtype=dtype):
        return problem_with(loss_of(parts, batch), batch)


def the_gpu_gives_the_same_loss(trial: LossTrial) -> str | None:
    """Expect the number of the CPU after objective and batch have moved to a GPU."""
    if not torch.cuda.is_available():
        raise NotApplicableError("there is no GPU here")
    parts = trial.build()
    expected = loss_of(parts, trial.batch())
    there = trial.build()
    there.objective.to("cuda")
    found = loss_of(there, moved(trial.batch(), "cuda")).cpu()
    if torch.allclose(expected, found, rtol=1e-6, atol=1e-9):
        return None
    return f"the loss is {found.item():.9g} instead of {expected.item():.9g}"


def waits_for_the_gpu(trial: LossTrial) -> str | None:
    """Return where a loss makes the host wait for the GPU, or None; a speed, not a promise.

    Building and the first step, which may fill caches, are left out.
    """
    parts, batch = trial.build(dtype=torch.float32), trial.batch(dtype=torch.float32)
    parts.objective.to("cuda")
    first, second = moved(batch, "cuda"), moved(batch, "cuda")
    scalar(parts.objective(first, Progress())).backward()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        scalar(parts.objective(second, Progress())).backward()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return None
