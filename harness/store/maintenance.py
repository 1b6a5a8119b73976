"""Look after a store: what is in it, what is damaged, what may be thrown away."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from harness.store.files import TEMPORARY, readable_errors
from harness.store.inventory import reads_well, table_files, take_inventory
from harness.store.writer import COMMIT, DATA_TABLES, WORK, Store

HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """What was found in a store.

    Attributes:
        files: Committed files that look whole, by table.
        damaged: Committed files that cannot be read, or differ from what was written.
        orphans: Files of attempts that were never committed.
        temporary: Left behind by writers that were killed.
    """

    files: Mapping[str, int]
    damaged: tuple[Path, ...]
    orphans: tuple[Path, ...]
    temporary: tuple[Path, ...]

    @property
    def num_attempts(self) -> int:
        """Attempts that are committed and readable."""
        return self.files[COMMIT]

    def facts(self) -> Iterator[tuple[str, object]]:
        """Yield what is worth a line, as name and value."""
        yield "attempts", self.num_attempts
        for table in DATA_TABLES:
            yield f"{table} files", self.files[table]
        for name, paths in (
            ("damaged files", self.damaged),
            ("orphaned files", self.orphans),
            ("temporary files", self.temporary),
        ):
            if paths:
                yield name, f"{len(paths)}, for example {paths[0]}"


def health(store: Store) -> StoreHealth:
    """Look at the name and the ends of every file; quick."""
    inventory = take_inventory(store)
    files = {table: len(paths) for table, paths in inventory.files.items()}
    return StoreHealth(files, inventory.damaged, _orphans(store), _temporary(store))


def verify(store: Store) -> StoreHealth:
    """Read every file whole and compare it with the digest in its commit record."""
    inventory = take_inventory(store)
    written = _digests(inventory.files[COMMIT])
    sound: dict[str, int] = {}
    damaged = list(inventory.damaged)
    for table, paths in inventory.files.items():
        bad = [path for path in paths if not _is_as_written(path, written.get((table, path.stem)))]
        sound[table] = len(paths) - len(bad)
        damaged += bad
    return StoreHealth(sound, tuple(sorted(damaged)), _orphans(store), _temporary(store))


def collect_garbage(store: Store, *, older_than: float = HOUR) -> tuple[Path, ...]:
    """Delete temporary files and orphans, and return what was deleted.

    Args:
        store: To tidy.
        older_than: Seconds without a change; younger files may belong to a writer at work.
    """
    oldest = time.time() - older_than
    deleted: list[Path] = []
    for path in (*_temporary(store), *_orphans(store)):
        with readable_errors("delete", path):
            if path.stat().st_mtime < oldest:
                path.unlink()
                deleted.append(path)
    return tuple(deleted)


def _orphans(store: Store) -> tuple[Path, ...]:
    # Data first, commit records second: an attempt that is committed in between is no orphan.
    data = [path for table in DATA_TABLES for path in table_files(store, table)]
    committed = {(path.parent.name, path.name) for path in table_files(store, COMMIT)}
    return tuple(sorted(p for p in data if (p.parent.name, p.name) not in committed))


def _temporary(store: Store) -> tuple[Path, ...]:
    found = list(store.root.glob(f".*{TEMPORARY}"))
    for folder in store.root.iterdir():
        if folder.is_dir() and folder.name != WORK:  # a run at work looks after its own
            found += folder.rglob(f".*{TEMPORARY}")
    return tuple(sorted(found))


def _digests(commits: Iterable[Path]) -> Mapping[tuple[str, str], str]:
    """Return the SHA-256 of each file by (table, attempt), as the commit records say."""
    digests: dict[tuple[str, str], str] = {}
    for path in commits:
        try:
            with pq.ParquetFile(path) as file:
                records = file.read(columns=["files"]).to_pylist()
        except (OSError, pa.ArrowException):
            continue  # found to be damaged when it is read itself
        digests.update(
            ((entry["name"], path.stem), entry["sha256"])
            for record in records
            for entry in record["files"]
        )
    return digests


def _is_as_written(path: Path, digest: str | None) -> bool:
    if digest is None:
        return reads_well(path)
    return hashlib.sha256(path.read_bytes()).hexdigest() == digest
