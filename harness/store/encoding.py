"""Rows -> Parquet bytes, in memory; pure.

Shapes: Q queries, K stored neighbours of each.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.errors import HarnessError
from harness.store.schema import (
    COMPONENTS,
    QUERY_COLUMNS,
    SCHEMA_VERSION,
    TERMS,
    TEXT,
    VERSIONS,
    EnsembleRow,
    EpochRow,
    MetricRow,
    RunRow,
    columns_of,
    schema_of,
)
from harness.store.sealing import SEAL, UNSEALED, seal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_UNDEFINED_FOR_LONE_QUERIES = ("first_hit_rank", "ap_at_r", "r_precision", "hit_at_1")


def encode_run(run: RunRow, files: Mapping[str, str]) -> bytes:
    """Return the commit record of an attempt, sealed with its own digest.

    Args:
        run: What happened.
        files: SHA-256 of the attempt's other files, by table.
    """
    record = {
        **_record(run),
        "files": [{"name": name, "sha256": digest} for name, digest in sorted(files.items())],
        "schema_version": SCHEMA_VERSION,
    }
    return seal(_to_parquet("runs", [record], metadata={SEAL: UNSEALED}))


def encode_metrics(run: RunRow, metrics: Sequence[MetricRow]) -> bytes:
    """Return the metric values of an attempt."""
    return _to_parquet("metrics", [{**_owner(run), **_record(row)} for row in metrics])


def encode_epochs(run: RunRow, epochs: Sequence[EpochRow]) -> bytes:
    """Return the training curve of an attempt."""
    return _to_parquet("epochs", [{**_owner(run), **_record(row)} for row in epochs])


def encode_queries(run: RunRow, queries: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the per-query outcomes of an attempt.

    Args:
        run: The attempt.
        queries: Columns `sample_id`, `label`, `num_relevant`, `first_hit_rank`, `ap_at_r`,
            `r_precision`, `hit_at_1`, each (Q,); `neighbors` and `neighbor_distances` (Q, K).
            `first_hit_rank` is 0 where nothing was hit. Where `num_relevant` is 0 the four
            outcomes are undefined and stored as NULL, whatever they hold.

    Raises:
        HarnessError: A column is missing, too many, of the wrong length, or not finite.
    """
    if unfit := set(queries) ^ set(QUERY_COLUMNS):
        raise HarnessError(f"columns of `queries` missing or unknown: {sorted(unfit)}")
    num_queries = len(queries["sample_id"])
    columns: dict[str, pa.Array] = {
        name: pa.array([value] * num_queries, TEXT) for name, value in _owner(run).items()
    }
    lone = queries["num_relevant"] == 0
    for name, column in QUERY_COLUMNS.items():
        values = queries[name]
        if len(values) != num_queries:
            raise HarnessError(f"{len(values)} {name} for {num_queries} queries")
        columns[name] = _query_column(name, values, column.type, lone=lone)
    return _serialise(pa.table(columns, schema=schema_of("queries")), "queries")


def encode_ensemble(rows: Sequence[EnsembleRow]) -> bytes:
    """Return the values of an ensemble, sealed: no commit record could hold its digest."""
    records = [_record(row) for row in rows]
    return seal(_to_parquet("ensembles", records, metadata={SEAL: UNSEALED}))


def _query_column(
    name: str, values: NDArray[Any], type_: pa.DataType, *, lone: NDArray[np.bool_]
) -> pa.Array:
    import numpy as np

    undefined = np.zeros(len(values), dtype=bool)
    if name in _UNDEFINED_FOR_LONE_QUERIES:
        undefined = lone | (values == 0) if name == "first_hit_rank" else lone
    if values.dtype.kind == "f" and not np.isfinite(values[~undefined]).all():
        raise HarnessError(f"`{name}` of queries holds values that are not finite")
    if not pa.types.is_list(type_):
        return pa.array(values, type_, mask=undefined)
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(
        pa.array(offsets), pa.array(values.reshape(-1), type_.value_type), type=type_
    )


def _owner(run: RunRow) -> dict[str, str]:
    return {"attempt_id": run.attempt_id, "run_key": run.run_key}


def _record(row: RunRow | MetricRow | EpochRow | EnsembleRow) -> dict[str, object]:
    columns = columns_of(type(row))
    return {
        field.name: _plain(field.name, getattr(row, field.name), columns[field.name].type)
        for field in fields(row)
    }


def _plain(name: str, value: Any, type_: pa.DataType) -> object:  # noqa: ANN401 - any cell
    """Return a cell as pyarrow takes it; a float that is not finite is an error."""
    if type_ in (TERMS, VERSIONS):
        key = "value" if type_ == TERMS else "version"
        return [{"name": term, key: _checked(f"{name}.{term}", v)} for term, v in value.items()]
    if type_ == COMPONENTS:
        return [component._asdict() for component in value]
    if isinstance(value, Mapping):
        return json.dumps(value, sort_keys=True, allow_nan=False, default=str)
    return _checked(name, value)


def _checked(name: str, value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        raise HarnessError(
            f"{name} is {value}; a value that is not finite is never stored",
            hint="store None, and say why in the status of the run",
        )
    return value


def _to_parquet(
    table: str, records: list[dict[str, object]], *, metadata: Mapping[str, str] | None = None
) -> bytes:
    return _serialise(pa.Table.from_pylist(records, schema=schema_of(table)), table, metadata)


def _serialise(table: pa.Table, name: str, metadata: Mapping[str, str] | None = None) -> bytes:
    for field in table.schema:
        if not field.nullable and table[field.name].null_count:
            raise HarnessError(f"`{field.name}` of table `{name}` must have a value")
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="zstd",
        use_dictionary=False,  # a quarter larger with it: most columns of a file are distinct
        write_statistics=False,  # another quarter, for bounds of a single row
        write_page_checksum=True,  # a flipped bit is an error on reading, not another value
        store_schema=False,  # plain Parquet types say it all
    ) as writer:
        writer.write_table(table)
        if metadata:
            writer.add_key_value_metadata(dict(metadata))
    return sink.getvalue().to_pybytes()
