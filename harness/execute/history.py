"""What a training has shown, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from harness.training.loop import EpochRecord

Part = Literal["train", "val", "test"]


class Score(NamedTuple):
    """Metrics of one part at one epoch; epoch 0 is the untrained encoder."""

    epoch: int
    part: Part
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class History:
    """What training has shown so far; grows by replacement, and is what a checkpoint keeps.

    Attributes:
        records: One per epoch trained.
        scores: Every evaluation, the untrained encoder's first.
        train_seconds: Spent in training steps, over all attempts.
        eval_seconds: Spent in evaluation, over all attempts.
    """

    records: tuple[EpochRecord, ...] = ()
    scores: tuple[Score, ...] = ()
    train_seconds: float = 0.0
    eval_seconds: float = 0.0

    def with_record(self, record: EpochRecord) -> History:
        """Return the history one epoch longer."""
        seconds = self.train_seconds + record.seconds
        return replace(self, records=(*self.records, record), train_seconds=seconds)

    def with_score(self, score: Score, seconds: float) -> History:
        """Return the history one evaluation longer."""
        return replace(
            self, scores=(*self.scores, score), eval_seconds=self.eval_seconds + seconds
        )

    def series(self, part: Part, metric: str) -> list[tuple[int, float]]:
        """Return (epoch, value) of one metric on one part, in order."""
        return [(s.epoch, s.values[metric]) for s in self.scores if s.part == part]

    @property
    def last_epoch(self) -> int:
        """Number of the epoch trained last; 0 when none was."""
        return self.records[-1].epoch if self.records else 0

    def to_plain(self) -> dict[str, Any]:
        """Return the history in types that a checkpoint may hold."""
        return {
            "records": [record.to_plain() for record in self.records],
            "scores": [[s.epoch, s.part, dict(s.values)] for s in self.scores],
            "train_seconds": self.train_seconds,
            "eval_seconds": self.eval_seconds,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> History:
        """Return the history that `to_plain` was given."""
        return cls(
            records=tuple(EpochRecord.from_plain(record) for record in plain["records"]),
            scores=tuple(Score(*score) for score in plain["scores"]),
            train_seconds=plain["train_seconds"],
            eval_seconds=plain["eval_seconds"],
        )
