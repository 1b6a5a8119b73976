"""Merged files: many attempts in one file per table, and the list that says which files count.

Layout, below the root of a store::

    merged/<number>.json               a generation: the list; the highest number is current
    merged/<table>/<name>.parquet      rows of many attempts, as they lay in their own files

A generation is published last, by a link that overwrites nothing, so that a reader sees the old
list or the new one and never half of either. Files that no current generation names are garbage.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import StoreError
from harness.store.writer import COMMIT, ENSEMBLES, Store

MERGED = "merged"
FORMAT = 1


class MergedFile(BaseModel):
    """A file of many attempts.

    Attributes:
        sha256: Of its content.
        rows: In it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    rows: Annotated[int, Field(ge=0)]


class Segment(BaseModel):
    """Some attempts, merged.

    Attributes:
        name: Of its file in the folder of each table.
        tables: What is in the folder of each table; all that its writer knew are there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    tables: Mapping[str, MergedFile]

    def path(self, store: Store, table: str) -> Path:
        """Return where the rows of a table are."""
        return store.root / MERGED / table / f"{self.name}.parquet"


class _Document(BaseModel):
    """A generation as it is written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Generation:
    """The merged part of a store.

    Attributes:
        number: From 1; 0 where nothing was ever merged.
        segments: Oldest first.
    """

    number: int = 0
    segments: tuple[Segment, ...] = ()

    def paths(self, store: Store, table: str) -> tuple[Path, ...]:
        """Return the merged files of a table."""
        return tuple(
            segment.path(store, table) for segment in self.segments if table in segment.tables
        )

    def num_attempts(self) -> int:
        """Return how many attempts are merged."""
        return sum(segment.tables[COMMIT].rows for segment in self.segments)

    def attempts(self, store: Store) -> frozenset[str]:
        """Return the ids of the merged attempts."""
        return _ids(self.paths(store, COMMIT), "attempt_id")

    def ensembles(self, store: Store) -> frozenset[str]:
        """Return the ids of the merged ensembles."""
        return _ids(self.paths(store, ENSEMBLES), "ensemble_id")

    def document(self) -> bytes:
        """Return the content of its file."""
        document = _Document(format=FORMAT, segments=self.segments)
        return document.model_dump_json(indent=1).encode() + b"\n"


def _ids(paths: Iterable[Path], column: str) -> frozenset[str]:
    found: set[str] = set()
    for path in paths:
        with pq.ParquetFile(path) as file:
            found.update(file.read(columns=[column])[column].to_pylist())
    return frozenset(found)


def generation_path(store: Store, number: int) -> Path:
    """Return the file of a generation."""
    return store.root / MERGED / f"{number:08d}.json"


def generation_numbers(store: Store) -> tuple[int, ...]:
    """Return the published generations, oldest first; all but the last are garbage."""
    folder = store.root / MERGED
    if not folder.is_dir():
        return ()
    return tuple(sorted(int(path.stem) for path in folder.glob("[0-9]*.json")))


def current_generation(store: Store) -> Generation:
    """Return the newest generation.

    Raises:
        StoreError: Its file is damaged or was written by a newer version.
    """
    while numbers := generation_numbers(store):
        path = generation_path(store, numbers[-1])
        try:
            return _read(path, numbers[-1])
        except FileNotFoundError:
            continue  # replaced by a newer one in the meantime
    return Generation()


def _read(path: Path, number: int) -> Generation:
    text = path.read_bytes()
    try:
        if (found := json.loads(text)["format"]) != FORMAT:
            raise StoreError(
                f"{path} has format {found}; this version reads {FORMAT}",
                hint="pip install --upgrade dml-harness",
            )
        return Generation(number, _Document.model_validate_json(text).segments)
    except (ValueError, TypeError, KeyError, ValidationError) as error:
        raise StoreError(
            f"{path}, the list of merged files, is damaged",
            hint="restore it from a backup; the merged files lie beside it",
        ) from error
