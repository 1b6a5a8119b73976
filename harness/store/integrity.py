"""Whether files are as they were written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow.parquet as pq

from harness.store.inventory import Inventory, reads_well
from harness.store.sealing import is_intact
from harness.store.segments import MergedFile
from harness.store.writer import COMMIT, ENSEMBLES, Store

_PIECE = 1 << 22  # bytes to hash at once


class Checked(NamedTuple):
    """Files of single attempts, by whether they are as they were written.

    Attributes:
        damaged: They differ, cannot be read, or are missing.
        attempts: Those that have a damaged file; ensembles among them.
    """

    damaged: tuple[Path, ...]
    attempts: frozenset[str]


def check_loose(inventory: Inventory, store: Store) -> Checked:
    """Compare the files of single attempts with the digests in their commit records."""
    commits = inventory.loose[COMMIT]
    damaged = [path for path in commits if not _is_sealed(path)]
    lost = frozenset(damaged)
    written = _digests(path for path in commits if path not in lost)
    group = {path.stem: path.parent.name for path in commits}
    for table, paths in inventory.loose.items():
        if table == COMMIT:
            continue
        if table == ENSEMBLES:
            damaged += [path for path in paths if not _is_sealed(path)]
            continue
        there = {path.stem: path for path in paths}
        expected = {
            attempt: digest for (name, attempt), digest in written.items() if name == table
        }
        for attempt, digest in expected.items():
            missing = store.root / table / group[attempt] / f"{attempt}.parquet"
            path = there.get(attempt, missing)
            if not path.is_file() or digest_of(path) != digest:
                damaged.append(path)
        damaged += [
            path for name, path in there.items() if name not in expected and not reads_well(path)
        ]
    return Checked(tuple(sorted(damaged)), frozenset(path.stem for path in damaged))


def is_as_merged(path: Path, file: MergedFile) -> bool:
    """Tell whether a merged file has the digest that its list names."""
    return path.is_file() and digest_of(path) == file.sha256


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _is_sealed(path: Path) -> bool:
    """Tell whether a commit record is intact; older ones have no seal and no metadata at all."""
    intact = is_intact(path.read_bytes())
    if intact is not None:
        return intact
    if not reads_well(path):
        return False
    with pq.ParquetFile(path) as file:
        return not file.metadata.metadata


def _digests(commits: Iterable[Path]) -> Mapping[tuple[str, str], str]:
    """Return the SHA-256 of each file by (table, attempt), as sound commit records say."""
    paths = [str(path.absolute()) for path in commits]
    if not paths:
        return {}
    with closing(duckdb.connect(":memory:")) as database:
        rows = database.execute(
            "SELECT file.name, attempt_id, file.sha256 "
            "FROM (SELECT attempt_id, unnest(files) AS file FROM read_parquet(?))",
            [paths],
        ).fetchall()
    return {(table, attempt): digest for table, attempt, digest in rows}
