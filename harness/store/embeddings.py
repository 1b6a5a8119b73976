"""Embeddings in files: what `harness run --save-embeddings` writes and `harness evaluate` reads.

Nothing here needs torch.

Shapes: N samples, D embedding.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harness.errors import HarnessError, did_you_mean
from harness.store.columns import Array, Column, Table, open_columns
from harness.store.writer import Store

FOLDER = "embeddings"  # of a store
EMBEDDINGS = ("embeddings", "embedding")
LABELS = ("labels", "label")
IDS = ("sample_ids", "sample_id", "ids", "id")
GALLERY = ("gallery", "gallery_labels", "gallery_sample_ids")


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """The queries or the gallery.

    Attributes:
        embeddings: (N, D) numbers.
        labels: (N,) integers; text while a file is being read.
        sample_ids: (N,) the same; None where the file has none.
    """

    embeddings: Array
    labels: Array
    sample_ids: Array | None = None


class Names(NamedTuple):
    """How columns are called; None looks for the usual names.

    A file need not have sample ids, unless they are named.
    """

    embeddings: str | None = None
    labels: str | None = None
    sample_ids: str | None = None


class Source(NamedTuple):
    """Where a side is: a file, or those of its rows whose `column` is `value`."""

    path: Path
    column: str | None = None
    value: str = ""


def file_of(store: Store, protocol: str, digest: str, attempt_id: str) -> Path:
    """Return where an attempt keeps the test embeddings of its selected epoch."""
    return store.root / FOLDER / f"{protocol}-{digest[:8]}" / f"{attempt_id}.npz"


def kept_attempts(store: Store) -> frozenset[str]:
    """Return the attempts that kept their embeddings."""
    return frozenset(path.stem for path in (store.root / FOLDER).glob("*/[!.]*.npz"))


def encode(query: Side, gallery: Side | None) -> bytes:
    """Return an `.npz` of the first of each list of usual names, and `GALLERY` if it is apart."""
    names = (EMBEDDINGS[0], LABELS[0], IDS[0])
    arrays: dict[str, Any] = dict(zip(names, _arrays(query), strict=True))
    if gallery is not None:
        arrays |= dict(zip(GALLERY, _arrays(gallery), strict=True))
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _arrays(side: Side) -> tuple[Array, Array, Array]:
    assert side.sample_ids is not None
    return side.embeddings, side.labels, side.sample_ids


def read(query: Source, gallery: Source | None, names: Names) -> tuple[Side, Side | None]:
    """Read both sides; the gallery is None where the queries are their own.

    A file of queries may hold its gallery, as `encode` writes it. Text labels and ids become
    numbers, alike on both sides.

    Raises:
        HarnessError: Something is missing or not what it should be; names file and column.
    """
    table = open_columns(query.path)
    first, second = _side(table, query, names, ids=IDS), None
    if gallery is not None:
        second = _side(open_columns(gallery.path), gallery, names, ids=IDS)
    elif GALLERY[0] in table.names:
        second = _side(table, Source(query.path), Names(*GALLERY[:2]), ids=GALLERY[2:])
    if second is None:
        return _numbered([first])[0], None
    if (first.sample_ids is None) != (second.sample_ids is None):
        raise HarnessError(
            "one side has sample ids and the other has none: the query itself cannot be left out",
            hint=f"give both sides a column {IDS[0]}, or name it with --ids",
        )
    first, second = _numbered([first, second])
    return first, second


# --- from columns to a side ---------------------------------------------------------------------


def _side(table: Table, source: Source, names: Names, *, ids: Sequence[str]) -> Side:
    """Read one side and check that its columns fit together; `ids` are usual names."""
    embeddings = table.column(EMBEDDINGS, names.embeddings, option="--embeddings")
    labels = table.column(LABELS, names.labels, option="--labels")
    rows = len(_checked(labels))
    if rows == 0:
        raise HarnessError(f"{labels.where} is empty: there is nothing to evaluate")
    side = Side(_checked(embeddings, rows=rows, dimensions=2), labels.values)
    if names.sample_ids or set(ids) & set(table.names):
        column = table.column(ids, names.sample_ids, option="--ids")
        side = replace(side, sample_ids=_checked(column, rows=rows))
    return side if source.column is None else _selected(table, source, side)


def _checked(column: Column, *, rows: int | None = None, dimensions: int = 1) -> Array:
    """Return the values, of the right shape and sort."""
    values = column.values
    if values.ndim != dimensions:
        wanted = "one value" if dimensions == 1 else "one row of numbers"
        shape = "x".join(map(str, values.shape)) or "a single value"
        raise HarnessError(f"{column.where} must hold {wanted} for each sample, is {shape}")
    if rows is not None and len(values) != rows:
        raise HarnessError(f"{column.where} has {len(values)} rows, the labels have {rows}")
    kinds, wanted = ("iuU", "whole numbers or text") if dimensions == 1 else ("fiu", "numbers")
    if len(values) and values.dtype.kind not in kinds:
        raise HarnessError(f"{column.where} must be {wanted}, is {values.dtype}")
    return values


def _selected(table: Table, source: Source, side: Side) -> Side:
    """Return the rows whose column has the value."""
    column = table.column((), source.column)
    values = _checked(column, rows=len(side.labels)).astype(str)
    rows = values == source.value
    if not rows.any():
        near = did_you_mean(source.value, np.unique(values).tolist())
        raise HarnessError(f"{column.where} is {source.value!r} nowhere", hint=near or None)
    ids = None if side.sample_ids is None else side.sample_ids[rows]
    return Side(side.embeddings[rows], side.labels[rows], ids)


def _numbered(sides: Sequence[Side]) -> list[Side]:
    """Number labels and ids that are text, alike on all sides."""
    labels = _numbers([side.labels for side in sides], "labels")
    ids = [side.sample_ids for side in sides if side.sample_ids is not None]
    numbers = _numbers(ids, "sample ids") if ids else [None] * len(sides)
    return [
        replace(side, labels=label, sample_ids=id_)
        for side, label, id_ in zip(sides, labels, numbers, strict=True)
    ]


def _numbers(columns: Sequence[Array], what: str) -> list[Array]:
    is_text = [column.dtype.kind == "U" for column in columns]
    if not any(is_text):
        return list(columns)
    if not all(is_text):
        raise HarnessError(f"the {what} are text on one side and numbers on the other")
    _, numbers = np.unique(np.concatenate(columns), return_inverse=True)
    return np.split(numbers, np.cumsum([len(column) for column in columns])[:-1])
