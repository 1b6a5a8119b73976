"""Which epoch is tested, and when training ends early; pure functions of scores.

Scores are (epoch, value) pairs in the order of evaluation. Epoch 0 is the untrained encoder;
trained epochs count from 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.protocol import Selection

Scores = Sequence[tuple[int, float]]


def best(scores: Scores, *, higher_is_better: bool = True, untrained: bool = False) -> int | None:
    """Return the epoch with the best score, the earliest of equals; None without a candidate.

    >>> best([(0, 0.9), (2, 0.3), (4, 0.5), (6, 0.5)])
    4

    Args:
        scores: At least those that may be selected.
        higher_is_better: Direction of the metric.
        untrained: Whether epoch 0 is a candidate.
    """
    sign = 1 if higher_is_better else -1
    candidates = [(sign * value, -epoch) for epoch, value in scores if untrained or epoch > 0]
    return -max(candidates)[1] if candidates else None


def should_stop(scores: Scores, selection: Selection, *, higher_is_better: bool = True) -> bool:
    """Return whether the last evaluation is more than `patience` epochs after the best one.

    The best may be the untrained encoder even where it cannot be selected: the code of
    arXiv:2003.08505 counts so. Rule `last` never stops early.
    """
    if selection.patience is None or selection.rule == "last":
        return False
    best_epoch = best(scores, higher_is_better=higher_is_better, untrained=True)
    return best_epoch is not None and scores[-1][0] - best_epoch > selection.patience


def due(epoch: int, selection: Selection, *, last_epoch: int) -> bool:
    """Return whether an epoch ends with an evaluation: each `every`-th, and the last.

    Warm-up epochs outside the budget have negative numbers and are never evaluated.
    """
    return epoch >= 0 and (epoch % selection.every == 0 or epoch == last_epoch)
