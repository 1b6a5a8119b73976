"""What a run leaves behind: its result as rows of the store."""

from __future__ import annotations

import math
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from harness.data.splits import data_digest
from harness.evaluation.embedding import Embeddings
from harness.evaluation.queries import query_rows
from harness.execute.assembly import Assembled
from harness.execute.history import History
from harness.execute.single import Result
from harness.plan import Chosen, Run
from harness.provenance import Provenance
from harness.specs import MetricSpec
from harness.store.embeddings import Side, encode, file_of
from harness.store.files import publish
from harness.store.schema import (
    ComponentRow,
    EpochRow,
    MetricRow,
    Part,
    RunRow,
    Status,
    finite_or_none,
)
from harness.store.writer import Store


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a run, from the moment it begins.

    Attributes:
        started_at: UTC, for people.
        started: `time.perf_counter()` at the same moment, for durations.
    """

    attempt_id: str
    run: Run
    device: torch.device
    provenance: Provenance
    started_at: datetime
    started: float


def finished(attempt: Attempt, parts: Assembled, result: Result) -> RunRow:
    """Return the row of a run that went to its end."""
    run, history = attempt.run, result.history
    images = sum(record.images for record in history.records)
    seconds = history.train_seconds
    return _row(
        attempt,
        "ok",
        data_digest=data_digest(parts.table, run.protocol.split),
        leaderboard_eligible=not (run.smoke or run.deviations or is_trial(run)),
        train_seconds=seconds,
        eval_seconds=history.eval_seconds,
        images_per_second=images / seconds if seconds else None,
        peak_memory_mib=_peak_memory_mib(attempt.device),
        epochs_trained=len(history.records),
        selected_epoch=result.selected_epoch,
        embedding_dim=int(result.query.values.shape[1]),
        num_train_images=len(parts.split.train),
        num_train_classes=len(parts.labels.class_ids),
        num_queries=result.ranking.num_queries,
        num_gallery=len(parts.split.gallery),
        num_lone_queries=result.ranking.num_lone,
        backend=result.ranking.backend,
        compiled=parts.compiled,
    )


def ended_early(attempt: Attempt, status: Status, error_type: str, message: str) -> RunRow:
    """Return the row of a run that failed or was interrupted."""
    return _row(attempt, status, error_type=error_type, error_message=message)


def metrics(attempt: Attempt, result: Result) -> list[MetricRow]:
    """Return every value that was measured, the selected encoder's test values last."""
    run, history = attempt.run, result.history
    rows = [
        _metric(run, score.part, score.epoch, name, value, result)
        for score in history.scores
        for name, value in score.values.items()
        if not (score.part == "test" and score.epoch == result.selected_epoch)
    ]
    epoch = result.selected_epoch
    rows += [
        _metric(run, "test", epoch, name, value, result) for name, value in result.test.items()
    ]
    return rows


def epochs(result: Result) -> list[EpochRow]:
    """Return the training curve."""
    return [
        EpochRow(
            epoch=record.epoch,
            warmup=record.warmup,
            steps=record.steps,
            images=record.images,
            seconds=record.seconds,
            losses=_finite(record.losses),
            learning_rates=_finite(record.learning_rates),
            shares=_finite(record.shares),
        )
        for record in result.history.records
    ]


def queries(result: Result) -> Mapping[str, NDArray[Any]]:
    """Return one row per test query."""
    return query_rows(result.ranking)


def untrained(history: History) -> Mapping[str, float]:
    """Return the test metrics of the encoder before its first step."""
    scores = [score.values for score in history.scores if (score.epoch, score.part) == (0, "test")]
    return scores[0] if scores else {}


def save_embeddings(store: Store, attempt: Attempt, result: Result) -> Path:
    """Write the test embeddings as `embeddings/<protocol>-<digest8>/<attempt>.npz`."""
    gallery = None if result.gallery is None else _side(result.gallery)
    run = attempt.run
    path = file_of(store, run.protocol.name, run.protocol_digest, attempt.attempt_id)
    publish(path, encode(_side(result.query), gallery))
    return path


def _side(embeddings: Embeddings) -> Side:
    columns = (embeddings.values, embeddings.labels, embeddings.sample_ids)
    return Side(*(column.cpu().numpy() for column in columns))


def _row(attempt: Attempt, status: Status, **outcome: Any) -> RunRow:  # noqa: ANN401 - RunRow checks
    """Return a row with all that is known of a run before it starts, and its outcome."""
    run, source, tuning = attempt.run, attempt.provenance, attempt.run.tuning
    return RunRow(
        attempt_id=attempt.attempt_id,
        run_key=run.key,
        pair_key=run.pair_key,
        protocol=run.protocol.name,
        protocol_version=run.protocol.version,
        protocol_digest=run.protocol_digest,
        dataset=run.dataset.card.name,
        method=run.method,
        loss=run.loss.card.name,
        miner=run.miner.card.name if run.miner else None,
        sampler=run.sampler.card.name,
        backbone=run.backbone.card.name,
        components=tuple(_component(chosen) for chosen in _all_chosen(run)),
        params={kind: chosen.params.model_dump(mode="json") for kind, chosen in run.components},
        settings=dict(run.settings),
        headline_metric=run.protocol.evaluation.metrics[0],
        fold=run.fold,
        seed=run.seed,
        status=status,
        deviations=run.deviations,
        smoke=run.smoke,
        search=tuning.search if tuning else None,
        search_metric=tuning.metric if tuning else None,
        trial=tuning.trial if tuning else None,
        num_trials=tuning.num_trials if tuning else None,
        started_at=attempt.started_at,
        ended_at=datetime.now(UTC),
        wall_seconds=time.perf_counter() - attempt.started,
        device=attempt.device.type,
        device_name=_device_name(attempt.device),
        threads=torch.get_num_threads(),
        host=source.host,
        platform=source.platform,
        python_version=source.python,
        torch_version=str(torch.__version__),
        harness_version=source.harness,
        versions=dict(source.libraries),
        git_commit=source.git_commit,
        git_dirty=source.git_dirty,
        **outcome,
    )


def is_trial(run: Run) -> bool:
    """Tell whether a run is one of a search, which counts nowhere else."""
    return run.tuning is not None and run.tuning.trial is not None


def _all_chosen(run: Run) -> list[Chosen]:
    metrics = {chosen.card.name: chosen for chosen in run.measured.values()}
    return [*(chosen for _, chosen in run.components), *metrics.values()]


def _component(chosen: Chosen) -> ComponentRow:
    card, origin = chosen.card, chosen.origin
    return ComponentRow(card.kind, card.name, origin.distribution, origin.version)


def _metric(
    run: Run,
    part: Part,
    epoch: int,
    name: str,
    value: float,
    result: Result,
) -> MetricRow:
    card = run.measured[name].card
    assert isinstance(card, MetricSpec), card
    return MetricRow(
        part=part,
        epoch=epoch,
        name=name,
        version=card.version,
        value=finite_or_none(value),
        selected=epoch == result.selected_epoch,
        higher_is_better=card.higher_is_better,
    )


def _finite(terms: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in terms.items()}


def _peak_memory_mib(device: torch.device) -> float:
    """Return the peak of this run on a GPU, of the whole process so far on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
