"""Which files of a store count: the merged ones, and those of other committed attempts.

Files are listed by name, never by a glob: one half-written file would fail a whole query.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.errors import StoreError
from harness.store.files import readable_errors
from harness.store.schema import TABLES
from harness.store.segments import MERGED, Generation, current_generation
from harness.store.writer import COMMIT, ENSEMBLES, Store

SUFFIX = ".parquet"
_MAGIC = b"PAR1"  # first and last four bytes of a Parquet file
_SMALLEST = 12  # magic, footer length, magic
_MOST_TRIES = 5


@dataclass(frozen=True, slots=True)
class Inventory:
    """The files of some tables; every row of a committed attempt is in exactly one of them.

    Attributes:
        generation: The merged part of the store.
        merged: Files of many attempts, by table.
        loose: Files of one attempt, by table, sorted by its time.
    """

    generation: Generation
    merged: Mapping[str, tuple[Path, ...]]
    loose: Mapping[str, tuple[Path, ...]]

    @property
    def files(self) -> Mapping[str, tuple[Path, ...]]:
        """All files, by table."""
        return {table: (*paths, *self.loose[table]) for table, paths in self.merged.items()}


def take_inventory(store: Store, tables: Iterable[str] = tuple(TABLES)) -> Inventory:
    """List the files that hold the rows of the tables, without opening those of single attempts.

    Raises:
        StoreError: The merged files are not what their list says.
    """
    tables = tuple(tables)
    for _ in range(_MOST_TRIES):
        with suppress(FileNotFoundError):  # merged anew and deleted since it was listed
            return _inventory(store, tables)
    raise StoreError(
        f"a merged file in {store.root / MERGED} is missing", hint="harness store verify names it"
    )


def _inventory(store: Store, tables: tuple[str, ...]) -> Inventory:
    # Commit records are listed first: what is committed later may not have all its files listed.
    names = dict.fromkeys((COMMIT, *tables))
    listed = {table: tuple(table_files(store, table)) for table in names}
    # The list of merged files is read last: a file is deleted only after a list that replaces it
    # was published, so whatever went missing during the listing is merged according to this one.
    generation = current_generation(store)
    merged = generation.attempts(store) if any(listed.values()) else ()
    committed = {
        (path.parent.name, path.name) for path in listed[COMMIT] if path.stem not in merged
    }
    loose = {
        table: tuple(
            sorted(
                (path for path in listed[table] if (path.parent.name, path.name) in committed),
                key=lambda path: path.name,
            )
        )
        for table in tables
        if table != ENSEMBLES
    }
    if ENSEMBLES in tables:
        known = generation.ensembles(store) if listed[ENSEMBLES] else ()
        found = (path for path in listed[ENSEMBLES] if path.stem not in known)
        loose[ENSEMBLES] = tuple(sorted(found, key=lambda path: path.name))
    return Inventory(
        generation, {table: generation.paths(store, table) for table in tables}, loose
    )


def table_files(store: Store, table: str) -> Iterator[Path]:
    """Yield the Parquet files of single attempts, committed or not, in no particular order."""
    folder = store.root / table
    if not folder.is_dir():
        return
    with readable_errors("read", folder):
        for group in folder.iterdir():
            if group.is_dir():
                for name in os.listdir(group):  # noqa: PTH208 - ten times the speed of iterdir
                    if name.endswith(SUFFIX) and not name.startswith("."):
                        yield group / name


def looks_whole(path: Path) -> bool:
    """Tell whether a file begins and ends as Parquet does; cheap, so not the whole truth."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < _SMALLEST or file.read(4) != _MAGIC:
                return False
            file.seek(-4, os.SEEK_END)
            return file.read(4) == _MAGIC
    except OSError:
        return False


def reads_well(path: Path) -> bool:
    """Tell whether every value of a file can be read and passes its checksum."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for _ in file.iter_batches():
                pass
    except (OSError, pa.ArrowException):
        return False
    return True
