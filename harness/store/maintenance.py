"""Look after a store: what is in it, what is damaged, what may be thrown away."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.store.compaction import FOLD_FROM, unnamed
from harness.store.files import TEMPORARY, readable_errors
from harness.store.integrity import check_loose, is_as_merged
from harness.store.inventory import looks_whole, table_files, take_inventory
from harness.store.schema import TABLES
from harness.store.segments import current_generation
from harness.store.writer import COMMIT, DATA_TABLES, ENSEMBLES, WORK, Store

HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """What was found in a store.

    Attributes:
        files: Files of single attempts, committed, not merged and sound, by table.
        damaged: Files that cannot be read, or differ from what was written, or are missing.
        orphans: Files of attempts that were never committed.
        temporary: Left behind by processes that were killed.
        merged_attempts: Attempts in merged files.
        merged: Files whose rows are in a merged file as well.
        bytes: Size of all tables, merged files included.
    """

    files: Mapping[str, int]
    damaged: tuple[Path, ...] = ()
    orphans: tuple[Path, ...] = ()
    temporary: tuple[Path, ...] = ()
    merged_attempts: int = 0
    merged: tuple[Path, ...] = field(default=(), repr=False)
    bytes: int = 0

    @property
    def num_attempts(self) -> int:
        """Attempts that are committed and readable."""
        return self.merged_attempts + self.files[COMMIT]

    def facts(self) -> Iterator[tuple[str, object]]:
        """Yield what is worth a line, as name and value."""
        yield "attempts", self.num_attempts
        if self.merged_attempts:
            yield "merged attempts", self.merged_attempts
        for table in DATA_TABLES:
            yield f"{table} files", self.files[table]
        if self.files[ENSEMBLES]:
            yield f"{ENSEMBLES} files", self.files[ENSEMBLES]
        yield "size", f"{self.bytes / 2**20:.1f} MiB"
        for name, paths in (
            ("damaged files", self.damaged),
            ("orphaned files", self.orphans),
            ("temporary files", self.temporary),
            ("files merged already", self.merged),
        ):
            if paths:
                yield name, f"{len(paths)}, for example {paths[0]}"
        if self.files[COMMIT] >= FOLD_FROM or self.merged:
            yield "advice", "harness store compact"


def health(store: Store) -> StoreHealth:
    """Look at the name and the ends of every file; quick."""
    inventory = take_inventory(store)
    files = {table: len(paths) for table, paths in inventory.loose.items()}
    damaged: list[Path] = []
    for table, paths in inventory.files.items():
        bad = [path for path in paths if not looks_whole(path)]
        files[table] -= len(set(bad) & set(inventory.loose[table]))
        damaged += bad
    return _health(store, files, damaged)


def verify(store: Store) -> StoreHealth:
    """Read every file whole and compare it with the digest it was written with."""
    inventory = take_inventory(store)
    checked = check_loose(inventory, store)
    bad = set(checked.damaged)
    files = {t: len(set(paths) - bad) for t, paths in inventory.loose.items()}
    damaged = list(checked.damaged)
    for segment in inventory.generation.segments:
        for table, file in segment.tables.items():
            path = segment.path(store, table)
            if not is_as_merged(path, file):
                damaged.append(path)
    return _health(store, files, damaged)


def _health(store: Store, files: Mapping[str, int], damaged: list[Path]) -> StoreHealth:
    generation = current_generation(store)
    return StoreHealth(
        files,
        tuple(sorted(damaged)),
        _orphans(store),
        _temporary(store),
        generation.num_attempts(),
        _merged(store),
        sum(path.stat().st_size for path in _table_paths(store) if path.is_file()),
    )


def collect_garbage(store: Store, *, older_than: float = HOUR) -> tuple[Path, ...]:
    """Delete temporary files, orphans and merged files that no list names any more.

    Args:
        store: To tidy.
        older_than: Seconds without a change; younger files may belong to a writer at work.

    Returns:
        What was deleted.
    """
    oldest = time.time() - older_than
    deleted: list[Path] = []
    stale = unnamed(store, current_generation(store))
    for path in (*_temporary(store), *_orphans(store), *stale):
        with readable_errors("delete", path):
            if path.exists() and path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)
                deleted.append(path)
    return tuple(deleted)


def _merged(store: Store) -> tuple[Path, ...]:
    paths = [path for table in TABLES for path in table_files(store, table)]
    if not paths:
        return ()
    generation = current_generation(store)
    merged = generation.attempts(store) | generation.ensembles(store)
    return tuple(path for path in paths if path.stem in merged)


def _table_paths(store: Store) -> Iterator[Path]:
    for table in TABLES:
        yield from table_files(store, table)
        yield from current_generation(store).paths(store, table)


def _orphans(store: Store) -> tuple[Path, ...]:
    # Data first, commit records second: an attempt that is committed in between is no orphan.
    data = [path for table in DATA_TABLES for path in table_files(store, table)]
    committed = {(path.parent.name, path.name) for path in table_files(store, COMMIT)}
    merged = current_generation(store).attempts(store) if data else frozenset[str]()
    return tuple(
        sorted(
            path
            for path in data
            if (path.parent.name, path.name) not in committed and path.stem not in merged
        )
    )


def _temporary(store: Store) -> tuple[Path, ...]:
    found = list(store.root.glob(f".*{TEMPORARY}"))
    for folder in store.root.iterdir():
        if folder.is_dir() and folder.name != WORK:  # a run at work looks after its own
            found += folder.rglob(f".*{TEMPORARY}")
    return tuple(sorted(found))
