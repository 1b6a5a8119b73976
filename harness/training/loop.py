"""The training loop: a generator that yields a record after each epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from harness import protocol
from harness.contracts import ImageBatch, Progress
from harness.errors import HarnessError
from harness.seeding import seed_global_streams
from harness.training.encoder import prepare_for_epoch
from harness.training.learner import Learner
from harness.training.meter import Meter, Stopwatch
from harness.training.step import take_step


@dataclass(frozen=True, slots=True)
class Epoch:
    """Place of an epoch in the training.

    Attributes:
        index: 0-based, warm-up included: what samplers and augmentation are asked for.
        number: As recorded: 1 to `epochs` inside the budget; a warm-up of w epochs before the
            budget has -w to -1. 0 is the untrained encoder, never an epoch of training.
        warmup: Whether the backbone is frozen.
        scheduled: Epochs of the learning-rate schedule that are over when it begins.
    """

    index: int
    number: int
    warmup: bool
    scheduled: int


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """What is known after an epoch.

    Attributes:
        epoch: `Epoch.number`.
        warmup: Whether the backbone was frozen.
        losses: Mean over the steps of each term the objective gave, `loss` first.
        learning_rates: By parameter group, during the epoch.
        steps: Batches.
        images: Images in them.
        seconds: From asking for the first batch to the end of the last step.
        shares: Part of `seconds` spent in `data` (waiting for it), `forward`, `loss` (mining
            included) and `step` (backward, clipping and optimizers).
    """

    epoch: int
    warmup: bool
    losses: dict[str, float]
    learning_rates: dict[str, float]
    steps: int
    images: int
    seconds: float
    shares: dict[str, float]

    def to_plain(self) -> dict[str, Any]:
        """Return the record in types that JSON and a checkpoint hold."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> EpochRecord:
        """Return the record that `to_plain` was given."""
        return cls(**plain)


def epochs_of(training: protocol.Training) -> tuple[Epoch, ...]:
    """Return every epoch of a training, in order; none for a budget of 0 epochs."""
    warmup = training.warmup
    if training.epochs == 0:
        return ()
    extra = 0 if warmup.inside_budget else warmup.epochs
    before = [Epoch(index, index - extra, warmup=True, scheduled=0) for index in range(extra)]
    frozen = warmup.epochs if warmup.inside_budget else 0
    budget = [
        Epoch(extra + done, done + 1, warmup=done < frozen, scheduled=done)
        for done in range(training.epochs)
    ]
    return (*before, *budget)


def fit(
    learner: Learner,
    train: Callable[[int], Iterable[ImageBatch]],
    *,
    seed: int,
    after_epoch: int | None = None,
) -> Iterator[EpochRecord]:
    """Train, yielding a record after each epoch; to stop early is to ask for no more.

    The global random streams are seeded at the start of each epoch, so that a resumed training
    draws what an uninterrupted one does.

    Args:
        learner: Changed in place; consistent, and ready for a checkpoint, at each yield.
        train: Batches of an epoch by its index.
        seed: Root of the global streams.
        after_epoch: Number of the last epoch that is over; None starts at the beginning.

    Raises:
        TrainingDiverged: The loss is NaN or infinite.
        HarnessError: An epoch without a batch, or an objective that breaks its contract.
    """
    for epoch in epochs_of(learner.training):
        if after_epoch is None or epoch.number > after_epoch:
            seed_global_streams(seed, epoch.index)
            yield _train_epoch(learner, epoch, train(epoch.index))


def _train_epoch(learner: Learner, epoch: Epoch, batches: Iterable[ImageBatch]) -> EpochRecord:
    """Take one step per batch."""
    _prepare(learner, epoch)
    still = ("backbone",) if epoch.warmup and _steps_of_zero(learner) else ()
    rates = learner.optimizers.set_learning_rates(epoch.scheduled, still=still)
    meter, watch = Meter(epoch.number), Stopwatch(learner.device)
    steps = images = 0
    try:
        for batch in batches:
            meter.add(take_step(learner, batch, _progress(learner, epoch), watch))
            learner.counter.steps += 1
            steps += 1
            images += len(batch.labels)
    except HarnessError:
        raise
    except Exception:
        meter.check()  # a NaN not yet noticed makes miners and losses fail in ways of their own
        raise
    if steps == 0:
        raise HarnessError(
            f"epoch {epoch.number} has no batch: the training part does not fill one",
            hint="lower training.batch_size or set training.iterations_per_epoch",
        )
    return EpochRecord(
        epoch=epoch.number,
        warmup=epoch.warmup,
        losses=meter.means(),
        learning_rates=rates,
        steps=steps,
        images=images,
        seconds=watch.seconds(),
        shares=watch.shares(),
    )


def _prepare(learner: Learner, epoch: Epoch) -> None:
    """Put every module into the mode the epoch needs; evaluation leaves them in another."""
    frozen = epoch.warmup and not _steps_of_zero(learner)
    prepare_for_epoch(learner.encoder, learner.training.batchnorm, warming_up=frozen)
    learner.objective.train()
    if isinstance(learner.miner, nn.Module):
        learner.miner.train()


def _steps_of_zero(learner: Learner) -> bool:
    return learner.training.warmup.backbone == "lr_0"


def _progress(learner: Learner, epoch: Epoch) -> Progress:
    """Return where a step is, as a loss counts: warm-up before the budget is its epoch 0."""
    training = learner.training
    extra = 0 if training.warmup.inside_budget else training.warmup.epochs
    per_epoch = training.iterations_per_epoch
    return Progress(
        epoch=max(0, epoch.number - 1),
        step=learner.counter.steps,
        total_epochs=training.epochs,
        total_steps=None if per_epoch is None else per_epoch * (extra + training.epochs),
    )
