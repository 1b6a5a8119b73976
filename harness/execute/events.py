"""What a caller passes to an execution and hears from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.contracts import TORCH, Backend
from harness.data.cache import MEMORY, CachePlace
from harness.plan import Run
from harness.settings import DEFAULT_MEMORY
from harness.training.loop import EpochRecord

Existing = Literal["only-missing", "always", "never", "only-cache"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionOptions:
    """Choices that must not change a result, only where and how it is computed.

    Attributes:
        data_root: Folder data sets are looked for in.
        weights_folder: Folder of downloaded weights; None takes the default cache.
        device: `auto`, `cpu`, `cuda` or `cuda:<index>`.
        workers: Processes that load images; 0 loads in this one.
        scale_on_device: Whether the device scales and mirrors random crops, not what loads images.
        download: Whether missing weights or data may be fetched.
        existing: `only-missing` skips finished runs, `always` runs them again, `never` refuses to
            start when one is finished, `only-cache` runs nothing.
        save_embeddings: Keep the test embeddings of each run.
        threads: Of torch on the CPU; None leaves torch's choice. It belongs to the machine: two
            thread counts may differ in the last bits.
        compile: Let torch compile the backbone. Like `threads` it may change the last bits, so
            the row says it.
        backend: What ranks.
        memory: Bytes a ranking may use above the embeddings.
        cache: Where prepared images are kept; None keeps none. It changes no result.
        fail_fast: Stop after the first failed run.
    """

    data_root: Path
    weights_folder: Path | None = None
    device: str = "auto"
    workers: int = 0
    scale_on_device: bool = False
    download: bool = False
    existing: Existing = "only-missing"
    save_embeddings: bool = False
    threads: int | None = None
    compile: bool = False
    backend: Backend = TORCH
    memory: int = DEFAULT_MEMORY
    cache: CachePlace | None = MEMORY
    fail_fast: bool = False


@dataclass(frozen=True, slots=True)
class PlanStarted:
    """The first event: how many runs there are, and how many of them need not be done."""

    total: int
    cached: int


@dataclass(frozen=True, slots=True)
class Downloading:
    """More bytes of a data set or a weight file have arrived, or are unpacked.

    Attributes:
        name: Of the file.
        received: Bytes so far.
        total: Bytes in all; None when the server does not say.
    """

    name: str
    received: int
    total: int | None


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run has its data, its model and its loss, and begins (or goes on) to train.

    Attributes:
        index: Position in the plan, from 1.
        total: Length of the plan.
        resumed_epoch: Last epoch found in a checkpoint; None for a fresh start.
    """

    run: Run
    index: int
    total: int
    num_train_images: int
    num_train_classes: int
    num_queries: int
    device: str
    resumed_epoch: int | None


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Metrics of one part at one epoch; epoch 0 is the untrained encoder."""

    run: Run
    epoch: int
    part: Literal["train", "val", "test"]
    values: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, slots=True)
class EpochDone:
    """An epoch has ended and its checkpoint is written.

    Attributes:
        seconds_left: Estimate from the epochs so far, were the whole budget used.
    """

    run: Run
    record: EpochRecord
    total_epochs: int
    seconds_left: float


@dataclass(frozen=True, slots=True)
class RunFinished:
    """A run's rows are in the store."""

    run: Run
    values: Mapping[str, float]
    untrained: Mapping[str, float]
    selected_epoch: int
    seconds: float
    path: Path


@dataclass(frozen=True, slots=True)
class RunSkipped:
    """A run was not done, and why."""

    run: Run
    reason: str


@dataclass(frozen=True, slots=True)
class RunFailed:
    """A run ended with an error; its row says so."""

    run: Run
    error_type: str
    message: str
    path: Path


Event = (
    PlanStarted
    | Downloading
    | RunStarted
    | Evaluated
    | EpochDone
    | RunFinished
    | RunSkipped
    | RunFailed
)
Listener = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Summary:
    """How a plan ended; the four counts add up to the plan unless it was cut short.

    Attributes:
        paths: Files of the `runs` table written now.
    """

    finished: int = 0
    cached: int = 0
    failed: int = 0
    interrupted: int = 0
    paths: tuple[Path, ...] = ()
