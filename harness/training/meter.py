"""Measuring an epoch without waiting for the device at each step."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from harness.errors import HarnessError

Phase = Literal["data", "forward", "loss", "step"]
PHASES: tuple[Phase, ...] = ("data", "forward", "loss", "step")

CHECK_EVERY = 50  # steps between two looks at the losses; each look waits for the device


class TrainingDiverged(HarnessError):  # noqa: N818 - names the event, as StopIteration does
    """The loss is NaN or infinite.

    Attributes:
        epoch: Number of the epoch, as recorded.
        step: Of the epoch, from 1: the first whose loss is not finite.
        terms: What the objective gave there.
    """

    def __init__(self, epoch: int, step: int, terms: Mapping[str, float]) -> None:
        listed = ", ".join(f"{name} = {value:g}" for name, value in terms.items())
        super().__init__(
            f"training diverged at epoch {epoch}, step {step}: {listed}",
            hint="lower training.optimizer.lr, or check the parameters of the loss",
        )
        self.epoch, self.step, self.terms = epoch, step, dict(terms)


class Meter:
    """Sums the terms of a loss over an epoch, and notices one that is not finite.

    Values stay on their device until `CHECK_EVERY` steps are pending, the epoch ends, or a step
    fails. A term other than `loss` may be undefined for some batches: its mean leaves those out.
    """

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._checked = 0
        self._pending: list[dict[str, Tensor]] = []
        self._values: dict[str, list[float]] = {}

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Take the terms of one step, scalars.

        Raises:
            TrainingDiverged: One of the pending losses is not finite.
        """
        self._pending.append({name: term.detach() for name, term in terms.items()})
        if len(self._pending) == CHECK_EVERY:
            self.check()

    def check(self) -> None:
        """Read the pending values, in one transfer.

        Raises:
            TrainingDiverged: One of the pending losses is not finite.
        """
        if not self._pending:
            return
        flat = [term for terms in self._pending for term in terms.values()]
        values = iter(torch.stack(flat).tolist())
        for terms in self._pending:
            self._checked += 1
            read = {name: next(values) for name in terms}
            if not math.isfinite(read["loss"]):
                raise TrainingDiverged(self._epoch, self._checked, read)
            for name, value in read.items():
                if math.isfinite(value):
                    self._values.setdefault(name, []).append(value)
        self._pending.clear()

    def means(self) -> dict[str, float]:
        """Return the mean of each term over the steps so far.

        Raises:
            TrainingDiverged: One of the pending losses is not finite.
        """
        self.check()
        return {name: math.fsum(values) / len(values) for name, values in self._values.items()}


class Stopwatch:
    """Divides the time of an epoch among the phases of its steps.

    On a GPU the laps are events of its stream, so that no step waits: `data` is then the time in
    which the GPU had nothing to do because the next batch was not there.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._seconds: dict[Phase, float] = dict.fromkeys(PHASES, 0.0)
        self._laps: list[tuple[Phase, Any]] = []
        self._last = self._now()

    def lap(self, phase: Phase) -> None:
        """Count the time since the lap before as this phase."""
        now = self._now()
        if self._on_gpu:
            self._laps.append((phase, now))
            if len(self._laps) >= CHECK_EVERY * len(PHASES):
                self._read_laps()
        else:
            self._seconds[phase] += now - self._last
            self._last = now

    def seconds(self) -> float:
        """Return the time of all laps together."""
        self._read_laps()
        return sum(self._seconds.values())

    def shares(self) -> dict[str, float]:
        """Return the part of each phase in the whole; they sum to 1."""
        total = self.seconds()
        return {phase: seconds / total for phase, seconds in self._seconds.items()}

    def _now(self) -> Any:  # noqa: ANN401 - a number, or an event of a GPU stream
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _read_laps(self) -> None:
        """Turn events into seconds; waits for the GPU to reach the last of them."""
        if not self._laps:
            return
        self._laps[-1][1].synchronize()
        for phase, event in self._laps:
            self._seconds[phase] += self._last.elapsed_time(event) / 1000
            self._last = event
        self._laps.clear()
