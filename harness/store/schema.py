"""The tables of the store: one explicit Parquet schema each, and the rows that callers fill.

A row class is the single source of its table: each field carries its Parquet type and its
meaning, and `schema_of` reads both. Raise `SCHEMA_VERSION` when a column changes its type or its
meaning; a new nullable column needs no raise, readers give NULL where a file lacks it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_type_hints

import pyarrow as pa

SCHEMA_VERSION = 1

Status = Literal["ok", "failed", "interrupted"]
Part = Literal["train", "val", "test"]


class Column(NamedTuple):
    """Type and meaning of a column.

    Attributes:
        type: Of the values in the file.
        doc: One sentence for readers of the documentation.
        nullable: Whether NULL is a value; of a row class, whether its type admits None.
    """

    type: pa.DataType
    doc: str
    nullable: bool = False


TEXT = pa.string()
INT = pa.int64()
REAL = pa.float64()
FLAG = pa.bool_()
TIME = pa.timestamp("us", tz="UTC")
TEXTS = pa.list_(TEXT)
TERMS = pa.list_(pa.struct([("name", TEXT), ("value", REAL)]))
VERSIONS = pa.list_(pa.struct([("name", TEXT), ("version", TEXT)]))
COMPONENTS = pa.list_(
    pa.struct([("kind", TEXT), ("name", TEXT), ("distribution", TEXT), ("version", TEXT)])
)
FILES = pa.list_(pa.struct([("name", TEXT), ("sha256", TEXT)]))


class ComponentRow(NamedTuple):
    """A component that took part in a run, and the distribution it came from."""

    kind: str
    name: str
    distribution: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One attempt at one run; written last, it is the commit record of the attempt."""

    attempt_id: Annotated[str, Column(TEXT, "Time-ordered id of this attempt.")]
    run_key: Annotated[str, Column(TEXT, "Hash of everything that determines the result.")]
    pair_key: Annotated[
        str, Column(TEXT, "Equal for runs that share protocol, data, fold and seed.")
    ]
    protocol: Annotated[str, Column(TEXT, "Name of the protocol.")]
    protocol_version: Annotated[int, Column(INT, "Version of the protocol.")]
    protocol_digest: Annotated[str, Column(TEXT, "Digest of the protocol's content, as written.")]
    data_digest: Annotated[
        str | None, Column(TEXT, "Digest of images and split; NULL if they were never read.")
    ] = None
    dataset: Annotated[str, Column(TEXT, "Name of the data set.")]
    method: Annotated[str, Column(TEXT, "Label of what is compared.")]
    loss: Annotated[str, Column(TEXT, "Name of the loss.")]
    miner: Annotated[str | None, Column(TEXT, "Name of the miner; NULL without one.")] = None
    sampler: Annotated[str, Column(TEXT, "Name of the batch sampler.")]
    backbone: Annotated[str, Column(TEXT, "Name of the backbone.")]
    components: Annotated[
        tuple[ComponentRow, ...],
        Column(COMPONENTS, "Every component, with the distribution it came from."),
    ]
    params: Annotated[
        Mapping[str, Any],
        Column(TEXT, "JSON: all resolved parameters of each component, by kind."),
    ]
    settings: Annotated[
        Mapping[str, Any],
        Column(TEXT, "JSON: the user's own settings, dotted path to value."),
    ]
    headline_metric: Annotated[
        str, Column(TEXT, "First metric of the protocol; leaderboards sort by it.")
    ]
    fold: Annotated[int, Column(INT, "Cross-validation fold, from 0.")]
    seed: Annotated[int, Column(INT, "Repeat.")]

    status: Annotated[Status, Column(TEXT, "ok, failed or interrupted.")]
    error_type: Annotated[str | None, Column(TEXT, "Class of the error.")] = None
    error_message: Annotated[str | None, Column(TEXT, "What went wrong.")] = None
    deviations: Annotated[
        tuple[str, ...], Column(TEXTS, "Fields that break the protocol, with values.")
    ] = ()
    smoke: Annotated[bool, Column(FLAG, "A rehearsal with a tiny budget.")] = False
    leaderboard_eligible: Annotated[bool, Column(FLAG, "May stand on a leaderboard.")] = False
    search: Annotated[
        str | None, Column(TEXT, "Search that the run belongs to; NULL for most runs.")
    ] = None
    search_metric: Annotated[
        str | None, Column(TEXT, "What the search compares on the validation part.")
    ] = None
    trial: Annotated[
        int | None, Column(INT, "Number of a trial of the search; NULL for every other run.")
    ] = None
    num_trials: Annotated[
        int | None, Column(INT, "Trials that a tuned method's values were picked from.")
    ] = None

    started_at: Annotated[datetime, Column(TIME, "UTC.")]
    ended_at: Annotated[datetime, Column(TIME, "UTC.")]
    wall_seconds: Annotated[float, Column(REAL, "From start to end.")]
    train_seconds: Annotated[float | None, Column(REAL, "Spent in training steps.")] = None
    eval_seconds: Annotated[float | None, Column(REAL, "Spent in evaluation.")] = None
    images_per_second: Annotated[float | None, Column(REAL, "Training throughput.")] = None
    peak_memory_mib: Annotated[
        float | None, Column(REAL, "Peak of the device; of the process on CPU.")
    ] = None

    epochs_trained: Annotated[int | None, Column(INT, "Epochs done.")] = None
    selected_epoch: Annotated[
        int | None, Column(INT, "Epoch whose encoder was tested; 0 is untrained.")
    ] = None
    embedding_dim: Annotated[int | None, Column(INT, "D.")] = None
    num_train_images: Annotated[int | None, Column(INT, "Images trained on.")] = None
    num_train_classes: Annotated[int | None, Column(INT, "Classes trained on.")] = None
    num_queries: Annotated[int | None, Column(INT, "Test queries.")] = None
    num_gallery: Annotated[int | None, Column(INT, "Test gallery items.")] = None
    num_lone_queries: Annotated[
        int | None, Column(INT, "Queries without a relevant item; left out of every mean.")
    ] = None
    backend: Annotated[
        str | None, Column(TEXT, "What found the neighbours; it changes no result.")
    ] = None
    compiled: Annotated[bool | None, Column(FLAG, "torch compiled the backbone.")] = None

    device: Annotated[str, Column(TEXT, "cpu, cuda, …")]
    device_name: Annotated[str | None, Column(TEXT, "Model of the processor or GPU.")] = None
    threads: Annotated[int | None, Column(INT, "CPU threads of the run.")] = None
    host: Annotated[str | None, Column(TEXT, "Name of the machine.")] = None
    platform: Annotated[str | None, Column(TEXT, "Operating system.")] = None
    python_version: Annotated[str | None, Column(TEXT, "Of the interpreter.")] = None
    torch_version: Annotated[str | None, Column(TEXT, "Of torch.")] = None
    harness_version: Annotated[str | None, Column(TEXT, "Of this package.")] = None
    versions: Annotated[Mapping[str, str], Column(VERSIONS, "Installed packages that matter.")]
    git_commit: Annotated[str | None, Column(TEXT, "Commit of the working directory.")] = None
    git_dirty: Annotated[bool | None, Column(FLAG, "It had uncommitted changes.")] = None


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One value of one metric; the writer adds attempt and run.

    `value` is None where the metric is undefined; a value that is not finite is refused.
    """

    part: Annotated[Part, Column(TEXT, "train (diagnostics only), val or test.")]
    epoch: Annotated[int, Column(INT, "Epoch of the encoder; 0 is untrained.")]
    name: Annotated[str, Column(TEXT, "As the protocol writes it.")]
    version: Annotated[int, Column(INT, "Of the definition.")]
    value: Annotated[float | None, Column(REAL, "NULL where undefined, never NaN.")]
    selected: Annotated[bool, Column(FLAG, "The value belongs to the selected epoch.")] = False
    higher_is_better: Annotated[bool, Column(FLAG, "Which way the metric improves.")] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRow:
    """One epoch of training; the writer adds attempt and run.

    A term that was not finite is None (`finite_or_none`).
    """

    epoch: Annotated[int, Column(INT, "From 1; 0 is the untrained encoder.")]
    warmup: Annotated[bool, Column(FLAG, "The backbone was frozen.")] = False
    steps: Annotated[int, Column(INT, "Batches.")]
    images: Annotated[int, Column(INT, "Images seen.")]
    seconds: Annotated[float, Column(REAL, "Wall time of the epoch.")]
    losses: Annotated[Mapping[str, float | None], Column(TERMS, "Mean of each loss term.")]
    learning_rates: Annotated[Mapping[str, float | None], Column(TERMS, "By parameter group.")]
    shares: Annotated[
        Mapping[str, float | None],
        Column(TERMS, "Share of the step time, by phase."),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleRow:
    """One test value of several models that rank as one; a file holds those of one ensemble."""

    ensemble_id: Annotated[str, Column(TEXT, "Hash of the members and of how they were joined.")]
    kind: Annotated[str, Column(TEXT, "How: concatenated, each normalised and the whole again.")]
    members: Annotated[tuple[str, ...], Column(TEXTS, "Attempts that were joined, by fold.")]
    run_keys: Annotated[tuple[str, ...], Column(TEXTS, "Their runs, by fold.")]
    num_members: Annotated[int, Column(INT, "Models in it.")]
    protocol: Annotated[str, Column(TEXT, "Name of the protocol.")]
    protocol_digest: Annotated[str, Column(TEXT, "Digest of the protocol's content, as written.")]
    data_digest: Annotated[str, Column(TEXT, "Digest of images and split.")]
    dataset: Annotated[str, Column(TEXT, "Name of the data set.")]
    method: Annotated[str, Column(TEXT, "Label of what is compared.")]
    seed: Annotated[int, Column(INT, "Repeat.")]
    embedding_dim: Annotated[int, Column(INT, "D of the whole.")]
    distance: Annotated[str, Column(TEXT, "What ranked it: the protocol's, never a loss's own.")]
    metric: Annotated[str, Column(TEXT, "As the protocol writes it.")]
    metric_version: Annotated[int, Column(INT, "Of the definition.")]
    higher_is_better: Annotated[bool, Column(FLAG, "Which way the metric improves.")]
    value: Annotated[float | None, Column(REAL, "NULL where undefined, never NaN.")]
    computed_at: Annotated[datetime, Column(TIME, "UTC.")]
    harness_version: Annotated[str | None, Column(TEXT, "Of this package.")] = None


ATTEMPT_COLUMNS: Mapping[str, Column] = {
    "attempt_id": Column(TEXT, "The attempt that wrote the row."),
    "run_key": Column(TEXT, "Its run."),
}

QUERY_COLUMNS: Mapping[str, Column] = {
    "sample_id": Column(INT, "Stable id of the query image."),
    "label": Column(INT, "Class id, as the data set numbers it."),
    "num_relevant": Column(INT, "R: gallery items of the same class."),
    "first_hit_rank": Column(
        INT, "Rank of the nearest relevant item, from 1; NULL if none.", nullable=True
    ),
    "ap_at_r": Column(REAL, "Average precision at R; NULL if R is 0.", nullable=True),
    "r_precision": Column(
        REAL, "Share of relevant items in the first R; NULL if R is 0.", nullable=True
    ),
    "hit_at_1": Column(FLAG, "The nearest item is relevant; NULL if R is 0.", nullable=True),
    "neighbors": Column(pa.list_(INT), "Sample ids of the nearest items, nearest first."),
    "neighbor_distances": Column(pa.list_(pa.float32()), "Their distances."),
}


@cache
def columns_of(row: type) -> Mapping[str, Column]:
    """Return the columns that a row class declares, in order."""
    hints = get_type_hints(row, include_extras=True)
    columns: dict[str, Column] = {}
    for field in fields(row):
        hint = hints[field.name]
        admits_none = NoneType in get_args(hint.__origin__)
        columns[field.name] = hint.__metadata__[0]._replace(nullable=admits_none)
    return columns


WRITER_COLUMNS: Mapping[str, Column] = {
    "files": Column(FILES, "SHA-256 of the attempt's other files, by table."),
    "schema_version": Column(INT, "Of the tables when the row was written."),
}

TABLES: Mapping[str, Mapping[str, Column]] = {
    "runs": {**columns_of(RunRow), **WRITER_COLUMNS},
    "metrics": {**ATTEMPT_COLUMNS, **columns_of(MetricRow)},
    "epochs": {**ATTEMPT_COLUMNS, **columns_of(EpochRow)},
    "queries": {**ATTEMPT_COLUMNS, **QUERY_COLUMNS},
    "ensembles": columns_of(EnsembleRow),
}


@cache
def schema_of(table: str) -> pa.Schema:
    """Return the schema that every file of a table is written with."""
    return pa.schema(
        [
            pa.field(name, column.type, nullable=column.nullable, metadata={"doc": column.doc})
            for name, column in TABLES[table].items()
        ],
        metadata={"harness.table": table, "harness.schema_version": str(SCHEMA_VERSION)},
    )


def finite_or_none(value: float) -> float | None:
    """Return the value, or None where it is NaN or infinite."""
    return value if math.isfinite(value) else None
