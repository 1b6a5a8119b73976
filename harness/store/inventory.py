"""Which files of a store count: those of committed attempts that look whole.

Files are listed by name, never by a glob: one half-written file would fail a whole query.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.store.files import readable_errors
from harness.store.schema import TABLES
from harness.store.writer import COMMIT, Store

SUFFIX = ".parquet"
_MAGIC = b"PAR1"  # first and last four bytes of a Parquet file
_SMALLEST = 12  # magic, footer length, magic


@dataclass(frozen=True, slots=True)
class Inventory:
    """The files of some tables, each tuple sorted by time of the attempt.

    Attributes:
        files: Committed and whole at a glance, by table.
        damaged: Committed, but cut short or not Parquet.
    """

    files: Mapping[str, tuple[Path, ...]]
    damaged: tuple[Path, ...]


def take_inventory(store: Store, tables: Iterable[str] = tuple(TABLES)) -> Inventory:
    """List the committed files of the tables, without reading more than their ends."""
    committed = {(path.parent.name, path.name) for path in table_files(store, COMMIT)}
    files: dict[str, tuple[Path, ...]] = {}
    damaged: list[Path] = []
    for table in tables:
        whole: list[Path] = []
        for path in table_files(store, table):
            if (path.parent.name, path.name) in committed:
                (whole if looks_whole(path) else damaged).append(path)
        files[table] = tuple(sorted(whole, key=lambda path: path.name))
    return Inventory(files, tuple(sorted(damaged)))


def table_files(store: Store, table: str) -> Iterator[Path]:
    """Yield the Parquet files of a table, committed or not, in no particular order."""
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
            file.read()
    except (OSError, pa.ArrowException):
        return False
    return True
