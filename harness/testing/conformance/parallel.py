"""Gradients of data-parallel training, in two processes that talk over gloo.

Each process holds every second row of a batch. A loss whose card says `per_sample` sees those
rows alone, and averaging what the processes find must give the gradient of the whole batch. Any
other loss sees the whole batch: each process gathers the rows of the other, and its own rows must
get the gradient that they get in one process.

Shapes: B batch, D embedding.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from harness.contracts import Batch
from harness.testing.conformance.batches import LossTrial, loss_of

WORLD = 2
PATIENCE = timedelta(seconds=30)
Gradients = dict[str, Tensor]


def parallel_problems(trials: Sequence[LossTrial]) -> tuple[str | None, ...]:
    """Return what is wrong with each loss, or None; all of them share one pair of processes."""
    with tempfile.TemporaryDirectory() as folder:
        # a fork takes cards along that no other process could import; it needs an idle GPU
        method = "spawn" if torch.cuda.is_initialized() else "fork"
        mp.start_processes(  # pyright: ignore[reportPrivateImportUsage]
            _serve, args=(folder, list(trials)), nprocs=WORLD, start_method=method
        )
        answers = [torch.load(Path(folder) / f"{rank}.pt") for rank in range(WORLD)]
    return tuple(
        _judge(trial, [answer[index] for answer in answers]) for index, trial in enumerate(trials)
    )


def gradients_survive_two_processes(trial: LossTrial) -> str | None:
    """Expect the gradients of the whole batch from two processes that share it."""
    return parallel_problems([trial])[0]


def _serve(rank: int, folder: str, trials: list[LossTrial]) -> None:
    """Compute the gradients of every trial as one of the processes."""
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=WORLD,
        timeout=PATIENCE,
    )
    answers = [_answer(trial, rank) for trial in trials]
    torch.save(answers, Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def _answer(trial: LossTrial, rank: int) -> Gradients | str:
    try:
        return _shared(trial, rank)
    except Exception as error:  # noqa: BLE001 - the plugin border: any error is the finding
        return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _shared(trial: LossTrial, rank: int) -> Gradients:
    """Return the gradients that one process is left with."""
    parts, whole = trial.build(), trial.batch()
    own = whole.embeddings.detach()[rank::WORLD].requires_grad_()
    if trial.card.per_sample:
        batch, share = _rows(whole, own, rank), WORLD
    else:
        batch, share = replace(whole, embeddings=_gathered(own, rank)), 1
    loss_of(parts, batch).backward()
    assert own.grad is not None
    return {"embeddings": own.grad / share, **_averaged(_grads(parts.objective))}


def _rows(whole: Batch, own: Tensor, rank: int) -> Batch:
    def mine(value: Tensor | None) -> Tensor | None:
        return None if value is None else value[rank::WORLD]

    return Batch(own, whole.labels[rank::WORLD], mine(whole.features), mine(whole.sample_index))


def _gathered(own: Tensor, rank: int) -> Tensor:
    """Return the rows of both processes in the order of the batch; own ones keep their graph."""
    parts = [torch.empty_like(own) for _ in range(WORLD)]
    dist.all_gather(parts, own.detach())
    parts[rank] = own
    return torch.stack(parts, dim=1).flatten(0, 1)


def _averaged(grads: Gradients) -> Gradients:
    """Average over the processes, as torch's DistributedDataParallel does.

    The class itself would import torch's compiler in both processes, which takes seconds.
    """
    for gradient in grads.values():
        dist.all_reduce(gradient)
    return {name: gradient / WORLD for name, gradient in grads.items()}


def _grads(objective: nn.Module) -> Gradients:
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in objective.named_parameters()
    }


def _judge(trial: LossTrial, answers: Sequence[Any]) -> str | None:
    """Compare what the processes found with what one finds."""
    for answer in answers:
        if isinstance(answer, str):
            return answer
    parts, batch = trial.build(), trial.batch()
    loss_of(parts, batch).backward()
    assert batch.embeddings.grad is not None
    expected = {"embeddings": batch.embeddings.grad, **_grads(parts.objective)}
    together = torch.stack([answer["embeddings"] for answer in answers], dim=1).flatten(0, 1)
    for found in ({**answer, "embeddings": together} for answer in answers):
        for name, value in expected.items():
            if not torch.allclose(found[name], value, rtol=1e-6, atol=1e-9):
                return f"the gradient of {name} is not that of one process"
    return None
