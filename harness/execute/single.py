"""One run: train, evaluate, select, test."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.evaluation.diagnostics import unranked
from harness.evaluation.embedding import Embeddings, embed
from harness.evaluation.neighbours import Ranking, rank
from harness.execute.assembly import Assembled, few, run_root
from harness.execute.events import EpochDone, Evaluated, Listener
from harness.execute.history import History, Part, Score
from harness.plan import Chosen, Run
from harness.specs import MetricSpec
from harness.training import checkpoint, selection
from harness.training.loop import fit

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run, before it becomes rows.

    Attributes:
        history: All epochs and evaluations.
        selected_epoch: Whose encoder was tested.
        test: Metrics of the selected encoder on the test part.
        ranking: What they were computed from.
        query: Test embeddings of the queries.
        gallery: Of the gallery, where it is not the query set.
    """

    history: History
    selected_epoch: int
    test: Mapping[str, float]
    ranking: Ranking
    query: Embeddings
    gallery: Embeddings | None


def run_one(run: Run, parts: Assembled, history: History, *, work: Path, emit: Listener) -> Result:
    """Train as the protocol says, pick the epoch it says, and test that encoder once.

    Args:
        run: What to do.
        parts: Built for it.
        history: Of an attempt that was cut off, its state already loaded; empty for a new one.
        work: Folder for checkpoints, the run's own.
        emit: Hears of each epoch and evaluation.

    Raises:
        HarnessError: Training diverged, an image cannot be read, …; the caller makes it a row.
    """
    history = train(run, parts, history, work=work, emit=emit)
    epoch = selected_epoch(run, history)
    if _keeps_best(run) and epoch != history.last_epoch:
        checkpoint.load_weights(_weights_file(work, epoch), parts.learner)
    started = time.perf_counter()
    query, gallery = _embed_test(run, parts)
    ranking = _rank(run, parts, query, gallery)
    values = {**measure(run, ranking), **diagnose(run, query)}
    seconds = time.perf_counter() - started
    emit(Evaluated(run, epoch, "test", values, seconds))
    history = replace(history, eval_seconds=history.eval_seconds + seconds)
    return Result(history, epoch, values, ranking, query, gallery)


def train(run: Run, parts: Assembled, history: History, *, work: Path, emit: Listener) -> History:
    """Return the history of a training that was run to its end, or to where patience ends it.

    A checkpoint is written after each epoch; a run that was cut off goes on from the last one and
    ends in the same numbers.
    """
    training, rule = run.protocol.training, run.protocol.selection
    if not history.scores:
        history = _evaluate(run, parts, history, epoch=0, untrained=True, emit=emit)
        if rule.untrained:
            _keep_best(run, parts, history, work=work)
    if stopped(run, history):
        return history
    start = history.records[-1].epoch if history.records else None
    for record in fit(parts.learner, parts.loaders.train, seed=run_root(run), after_epoch=start):
        history = history.with_record(record)
        if selection.due(record.epoch, rule, last_epoch=training.epochs):
            history = _evaluate(run, parts, history, epoch=record.epoch, emit=emit)
            _keep_best(run, parts, history, work=work)
        checkpoint.save(
            work / CHECKPOINT, parts.learner, run_key=run.key, payload=history.to_plain()
        )
        _drop_old_weights(run, history, work=work)
        emit(EpochDone(run, record, training.epochs, _seconds_left(run, history)))
        if stopped(run, history):
            break
    return history


def resume(run: Run, parts: Assembled, *, work: Path) -> History:
    """Return the history of the last usable checkpoint, its state loaded; else an empty one."""
    payload = checkpoint.load(work / CHECKPOINT, parts.learner, run_key=run.key)
    return History.from_plain(payload) if payload is not None else History()


def stopped(run: Run, history: History) -> bool:
    """Return whether the protocol's patience is at its end."""
    rule = run.protocol.selection
    if rule.rule == "last" or rule.patience is None:
        return False
    return selection.should_stop(
        history.series("val", rule.metric), rule, higher_is_better=_higher_is_better(run)
    )


def selected_epoch(run: Run, history: History) -> int:
    """Return the epoch whose encoder is tested.

    Raises:
        HarnessError: Nothing was evaluated that could be selected.
    """
    rule = run.protocol.selection
    if rule.rule == "last" or not history.records:
        return history.last_epoch
    best = selection.best(
        history.series("val", rule.metric),
        higher_is_better=_higher_is_better(run),
        untrained=rule.untrained,
    )
    if best is None:
        raise HarnessError("no epoch was evaluated on the validation part")
    return best


def measure(run: Run, ranking: Ranking) -> dict[str, float]:
    """Return each metric of the protocol, by the name the protocol gives it."""
    return _values(run.metrics, ranking)


def diagnose(run: Run, queries: Embeddings) -> dict[str, float]:
    """Return each diagnostic of the protocol, for embeddings of one part."""
    return _values(run.diagnostics, unranked(queries))


def _values(chosen: tuple[tuple[str, Chosen], ...], ranking: Ranking) -> dict[str, float]:
    return {
        name: float(metric.card.build(metric.params, None)(ranking)) for name, metric in chosen
    }


# --- evaluation -------------------------------------------------------------------------------


def _evaluate(
    run: Run,
    parts: Assembled,
    history: History,
    *,
    epoch: int,
    emit: Listener,
    untrained: bool = False,
) -> History:
    """Score the encoder as it is now: validation always, test only as a baseline or oracle.

    Diagnostics, which no score is among, are measured on the train and test parts each time.
    """
    split = parts.split
    wanted: list[tuple[Part, Callable[[], dict[str, float]]]] = []
    if len(split.val):
        wanted.append(("val", lambda: measure(run, _rank_rows(run, parts, split.val))))
    if untrained or run.protocol.evaluation.oracle:
        wanted.append(("test", lambda: _test(run, parts)))
    elif run.diagnostics:
        wanted.append(("test", lambda: diagnose(run, _embed(run, parts, split.query))))
    if run.diagnostics:
        rows = few(parts.table, split.train) if run.smoke else split.train
        wanted.append(("train", lambda: diagnose(run, _embed(run, parts, rows))))
    for part, score in wanted:
        started = time.perf_counter()
        values = score()
        seconds = time.perf_counter() - started
        history = history.with_score(Score(epoch, part, values), seconds)
        emit(Evaluated(run, epoch, part, values, seconds))
    return history


def _test(run: Run, parts: Assembled) -> dict[str, float]:
    query, gallery = _embed_test(run, parts)
    return {**measure(run, _rank(run, parts, query, gallery)), **diagnose(run, query)}


def _embed_test(run: Run, parts: Assembled) -> tuple[Embeddings, Embeddings | None]:
    split = parts.split
    query = _embed(run, parts, split.query)
    if np.array_equal(split.query, split.gallery):
        return query, None
    return query, _embed(run, parts, split.gallery)


def _embed(run: Run, parts: Assembled, rows: NDArray[np.int64]) -> Embeddings:
    return embed(
        parts.learner.encoder,
        parts.loaders.evaluate(rows),
        device=parts.device,
        normalize=run.protocol.evaluation.normalize,
        layer=run.protocol.evaluation.layer,
    )


def _rank_rows(run: Run, parts: Assembled, rows: NDArray[np.int64]) -> Ranking:
    return _rank(run, parts, _embed(run, parts, rows), None)


def _rank(run: Run, parts: Assembled, query: Embeddings, gallery: Embeddings | None) -> Ranking:
    neighbors = run.protocol.evaluation.neighbors
    return rank(
        query,
        gallery,
        distance=parts.distance,
        neighbors=neighbors,
        memory=parts.memory,
        backend=parts.backend,
    )


def _higher_is_better(run: Run) -> bool:
    card = dict(run.metrics)[run.protocol.selection.metric].card
    assert isinstance(card, MetricSpec), card
    return card.higher_is_better


# --- the best encoder so far ------------------------------------------------------------------


def _keeps_best(run: Run) -> bool:
    return run.protocol.selection.rule == "best_val"


def _weights_file(work: Path, epoch: int) -> Path:
    return work / f"best-{epoch}.pt"


def _keep_best(run: Run, parts: Assembled, history: History, *, work: Path) -> None:
    """Write the weights of the epoch just evaluated when it is the best so far.

    The file carries its epoch, and the one before stays until the checkpoint that no longer
    needs it is written: a kill between the two leaves both.
    """
    epoch = history.last_epoch
    if _keeps_best(run) and selected_epoch(run, history) == epoch:
        checkpoint.save_weights(_weights_file(work, epoch), parts.learner)


def _drop_old_weights(run: Run, history: History, *, work: Path) -> None:
    if not _keeps_best(run) or not any(s.epoch > 0 for s in history.scores):
        return
    keep = _weights_file(work, selected_epoch(run, history))
    for file in work.glob("best-*.pt"):
        if file != keep:
            file.unlink(missing_ok=True)


def _seconds_left(run: Run, history: History) -> float:
    """Estimate from the mean epoch so far, evaluations included."""
    done = len(history.records)
    spent = history.train_seconds + history.eval_seconds
    return spent / done * max(0, run.protocol.training.epochs - history.last_epoch)
