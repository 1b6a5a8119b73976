"""Merge the small files of many attempts into one file per table.

Nothing is deleted before the merged files are durable and named by a published generation
(`harness.store.segments`), and nothing that differs from its digest is merged: a damaged attempt
stays in its own files, where `harness store verify` finds it.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from harness.errors import HarnessError
from harness.store.files import publish, publishing, readable_errors
from harness.store.integrity import check_loose, digest_of
from harness.store.inventory import Inventory, table_files, take_inventory
from harness.store.schema import TABLES, schema_of
from harness.store.segments import (
    MERGED,
    Generation,
    MergedFile,
    Segment,
    current_generation,
    generation_numbers,
    generation_path,
)
from harness.store.views import sql_type
from harness.store.writer import COMMIT, DATA_TABLES, ENSEMBLES, RunInUseError, Store, lock

FOLD_FROM = 1_000  # loose attempts; from here on reading them costs more than merging
_ROWS = 122_880  # of a row group
_MEMORY = "1GB"  # for reading

Files = Mapping[str, tuple[Path, ...]]


@dataclass(frozen=True, slots=True)
class Compaction:
    """What was done.

    Attributes:
        attempts: Merged, now and before.
        added: Of them, from files of their own.
        deleted: Files that were no longer needed.
        left_out: Files of attempts that stay as they are: damaged, or of a newer version.
    """

    attempts: int
    added: int
    deleted: int
    left_out: tuple[Path, ...]


def compact(store: Store) -> Compaction:
    """Merge every sound attempt into one file per table, then delete what was merged.

    Whoever reads meanwhile sees every row exactly once. Killed at any moment it loses nothing,
    and the next one goes on.

    Raises:
        HarnessError: Another process is merging.
        StoreError: The file system refused; nothing was deleted.
    """
    with _alone(store):
        inventory = take_inventory(store)
        sound, left_out = _sound(store, inventory)
        added = len(sound[COMMIT])
        if added or sound[ENSEMBLES] or len(inventory.generation.segments) > 1:
            everything = {table: (*inventory.merged[table], *sound[table]) for table in TABLES}
            _publish(store, inventory.generation.number, [_merge(store, everything)])
        generation = current_generation(store)
        deleted = delete_merged(store)
    return Compaction(generation.num_attempts(), added, len(deleted), left_out)


def fold(store: Store) -> int:
    """Merge copies of what lies loose into one more file per table; return how many attempts.

    Nothing is deleted: this makes a large store quick, only `compact` makes it small.

    Raises:
        HarnessError: Another process is merging.
        StoreError: The file system refused.
    """
    with _alone(store):
        inventory = take_inventory(store)
        sound, _ = _sound(store, inventory)
        if sound[COMMIT]:
            segments = (*inventory.generation.segments, _merge(store, sound))
            _publish(store, inventory.generation.number, segments)
    return len(sound[COMMIT])


def fold_if_many(store: Store) -> None:
    """Fold where much lies loose and nobody else does it; it is no harm if it fails."""
    loose = take_inventory(store, [COMMIT]).loose[COMMIT]
    if len(loose) >= FOLD_FROM:
        with suppress(HarnessError):
            fold(store)


def delete_merged(store: Store) -> tuple[Path, ...]:
    """Delete files whose rows the current generation has in another file, and return them."""
    generation = current_generation(store)
    if not generation.number:
        return ()
    merged = generation.attempts(store)
    # Commit records last: a data file without one would look like the leftover of a dead writer.
    stale = [
        path
        for table in (*DATA_TABLES, COMMIT)
        for path in table_files(store, table)
        if path.stem in merged
    ]
    ensembles = generation.ensembles(store)
    stale += [path for path in table_files(store, ENSEMBLES) if path.stem in ensembles]
    stale += unnamed(store, generation)
    for path in stale:
        with readable_errors("delete", path):
            path.unlink(missing_ok=True)
    return tuple(stale)


def unnamed(store: Store, generation: Generation) -> list[Path]:
    """Return older generations, and merged files that this generation does not name."""
    named = {path for table in TABLES for path in generation.paths(store, table)}
    folder = store.root / MERGED
    older = [n for n in generation_numbers(store) if n < generation.number]
    return [
        *(generation_path(store, number) for number in older),
        *(p for t in TABLES for p in sorted(folder.glob(f"{t}/[!.]*.parquet")) if p not in named),
    ]


@contextmanager
def _alone(store: Store) -> Generator[None]:
    try:
        with lock(store.root / MERGED):
            yield
    except RunInUseError as error:
        raise HarnessError(
            f"another process is merging the files of {store.root}", hint="wait for it to end"
        ) from error


def _sound(store: Store, inventory: Inventory) -> tuple[Files, tuple[Path, ...]]:
    """Return the loose files that may be merged, and those of attempts that may not."""
    bad = set(check_loose(inventory, store).attempts)
    for table, paths in inventory.loose.items():
        bad |= _newer(table, [path for path in paths if path.stem not in bad])
    sound: dict[str, tuple[Path, ...]] = {}
    left_out: list[Path] = []
    for table, paths in inventory.loose.items():
        sound[table] = tuple(path for path in paths if path.stem not in bad)
        left_out += [path for path in paths if path.stem in bad]
    return sound, tuple(left_out)


def _newer(table: str, paths: Sequence[Path]) -> set[str]:
    """Return the attempts that have columns we do not know and would lose."""
    if not paths:
        return set()
    with _reader() as database:
        alike = database.execute(
            "SELECT list(file_name) FROM ("
            "SELECT file_name, list_sort(list(name)) AS names FROM parquet_schema(?) GROUP BY 1"
            ") GROUP BY names",
            [_names(paths)],
        ).fetchall()
    return {
        Path(name).stem
        for (names,) in alike
        if not set(pq.read_schema(names[0]).names) <= set(TABLES[table])
        for name in names
    }


def publish_segment(store: Store, tables: Mapping[str, pa.Table]) -> Segment:
    """Make rows the merged part of a store that has none, and return what it is made of.

    Raises:
        StoreError: The file system refused, or the store has a merged part.
    """
    sources = {table: (rows.to_batches(), rows.num_rows) for table, rows in tables.items()}
    segment = _write_segment(store, sources)
    _publish(store, 0, [segment])
    return segment


def _merge(store: Store, files: Files) -> Segment:
    """Write one file per table with the rows of many."""
    return _write_segment(
        store, {table: (_batches(table, paths), _count(paths)) for table, paths in files.items()}
    )


def _write_segment(
    store: Store, sources: Mapping[str, tuple[Iterable[pa.RecordBatch], int]]
) -> Segment:
    """Write one file per table; each source is its rows, and how many there must be."""
    name = secrets.token_hex(8)
    tables: dict[str, MergedFile] = {}
    for table, (batches, expected) in sources.items():
        target = store.root / MERGED / table / f"{name}.parquet"
        with readable_errors("write", target):
            rows = _write_merged(target, table, batches)
            assert rows == expected, f"{rows} rows of {table} written, there are {expected}"
            tables[table] = MergedFile(sha256=digest_of(target), rows=rows)
    return Segment(name=name, tables=tables)


def _write_merged(target: Path, table: str, batches: Iterable[pa.RecordBatch]) -> int:
    """Write rows in their order, and return how many."""
    # What an older file lacks is NULL, even where every row must have a value nowadays.
    schema = pa.schema([pa.field(field.name, field.type) for field in schema_of(table)])
    rows = 0
    with (
        publishing(target) as file,
        pq.ParquetWriter(
            file, schema, compression="zstd", write_page_checksum=True, store_schema=False
        ) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch.cast(schema))
            rows += batch.num_rows
    return rows


def _batches(table: str, paths: Sequence[Path]) -> Iterable[pa.RecordBatch]:
    if not paths:
        return
    schema = ", ".join(
        f"'{name}': {{name: '{name}', type: '{sql_type(column.type)}', default_value: NULL}}"
        for name, column in TABLES[table].items()
    )
    with _reader() as database:
        yield from database.sql(
            f"FROM read_parquet(?, schema = MAP {{{schema}}})", params=[_names(paths)]
        ).to_arrow_reader(_ROWS)


def _count(paths: Sequence[Path]) -> int:
    if not paths:
        return 0
    with _reader() as database:
        row = database.execute(
            "SELECT sum(num_rows)::BIGINT FROM parquet_file_metadata(?)", [_names(paths)]
        ).fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def _reader() -> Generator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as database:
        database.execute("SET TimeZone = 'UTC'")
        database.execute("SET temp_directory = ''")
        database.execute(f"SET memory_limit = '{_MEMORY}'")
        yield database


def _names(paths: Iterable[Path]) -> list[str]:
    return [str(path.absolute()) for path in paths]


def _publish(store: Store, number: int, segments: Sequence[Segment]) -> None:
    """Make the segments the merged part of the store, unless somebody else was quicker."""
    path = generation_path(store, number + 1)
    with readable_errors("write", path):
        publish(path, Generation(number + 1, tuple(segments)).document())
