"""Shapes: B batch, D embedding, F features."""

from __future__ import annotations

import os
import signal
import time

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.api import Batch, Progress

BEGINNING = 2  # steps that go well


class Flat(nn.Module):
    """Pixels (B, 1, 8, 8) to features (B, 16)."""

    def __init__(self) -> None:
        """Draw the weights."""
        super().__init__()
        self.layer = nn.Linear(64, 16)

    def forward(self, images: Tensor) -> Tensor:
        """Return features."""
        return self.layer(images.flatten(1)).relu()


class Unruly(nn.Module):
    """Mean squared distance of embeddings of one class; then whatever `how` says."""

    def __init__(self, how: str, scale: float) -> None:
        """Keep both."""
        super().__init__()
        self.how, self.scale = how, scale

    def forward(self, batch: Batch, progress: Progress) -> Tensor:
        """Return the loss, or do not."""
        unit = functional.normalize(batch.embeddings)
        same = batch.labels[:, None] == batch.labels
        loss = self.scale * ((torch.cdist(unit, unit) ** 2) * same).mean()
        return loss if progress.step < BEGINNING else getattr(self, f"_{self.how}")(loss)

    def _fine(self, loss: Tensor) -> Tensor:
        return loss

    def _one(self, loss: Tensor) -> Tensor:
        return loss * 2

    def _two(self, loss: Tensor) -> Tensor:
        return loss * 3

    def _three(self, loss: Tensor) -> Tensor:
        return loss * 4

    def _raise(self, loss: Tensor) -> Tensor:
        raise ValueError("a plugin that raises")

    def _exit(self, loss: Tensor) -> Tensor:
        print("last words", flush=True)  # noqa: T201 - a plugin may
        os._exit(137)

    def _hang(self, loss: Tensor) -> Tensor:
        time.sleep(3600)
        return loss

    def _deaf(self, loss: Tensor) -> Tensor:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return self._hang(loss)

    def _nan(self, loss: Tensor) -> Tensor:
        return loss * float("nan")

    def _eat(self, loss: Tensor) -> Tensor:
        eaten = []
        while True:
            eaten.append(bytearray(b"x") * 2**24)
            time.sleep(0.01)
