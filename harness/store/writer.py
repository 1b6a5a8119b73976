"""Open a store and add to it: every attempt writes its own files and touches nobody else's.

Layout, for a store in `runs/`::

    runs/STORE.json                                            format of the store
    runs/runs/<protocol>-<digest8>/<attempt_id>.parquet        written last: the commit record
    runs/{metrics,epochs,queries}/<protocol>-<digest8>/<attempt_id>.parquet
    runs/ensembles/<protocol>-<digest8>/<ensemble_id>.parquet  commits itself; same id, same rows
    runs/protocols/<digest>.yaml                               protocols as they were run
    runs/work/<run_key>/                                       checkpoints and logs, not tables

An attempt exists when its row in `runs` exists; files without that row are leftovers.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from harness.errors import HarnessError, StoreError
from harness.store.encoding import (
    encode_ensemble,
    encode_epochs,
    encode_metrics,
    encode_queries,
    encode_run,
)
from harness.store.files import make_folder, publish, readable_errors
from harness.store.schema import EnsembleRow, EpochRow, MetricRow, RunRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
MARKER = "STORE.json"
COMMIT = "runs"
DATA_TABLES = ("metrics", "epochs", "queries")
ENSEMBLES = "ensembles"  # of several attempts, so no commit record holds their digest
WORK = "work"
_PROBE_BYTES = 1 << 16  # more than any one attempt of a small run writes


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of run tables.

    Attributes:
        root: Where `STORE.json` lies.
    """

    root: Path


def open_store(root: Path) -> Store:
    """Open a store for writing, creating it if need be.

    Raises:
        StoreError: The folder cannot be written and read back, or holds a newer format.
    """
    with readable_errors("write to", root):
        make_folder(root)
        if not (root / MARKER).exists():
            with suppress(FileExistsError):  # another process was quicker
                publish(root / MARKER, json.dumps({"format": FORMAT}).encode() + b"\n")
        _probe(root)
    return find_store(root)


def find_store(root: Path) -> Store:
    """Open an existing store for reading.

    Raises:
        StoreError: There is no store, or it holds a newer format.
    """
    marker = root / MARKER
    if not marker.is_file():
        raise StoreError(
            f"no run store in {root}: {MARKER} is missing",
            hint="start one with `harness run PROTOCOL`, or name another folder with --store",
        )
    with readable_errors("read", marker):
        text = marker.read_text(encoding="utf-8")
    try:
        found = int(json.loads(text)["format"])
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{marker} is not a description of a store: {text[:80]!r}") from error
    if found > FORMAT:
        raise StoreError(
            f"{root} has store format {found}; this version reads up to {FORMAT}",
            hint="pip install --upgrade dml-harness",
        )
    return Store(root)


def _probe(root: Path) -> None:
    """Fail now rather than after an hour of training: write, sync and read back."""
    path = root / f".probe-{secrets.token_hex(8)}"
    content = secrets.token_bytes(_PROBE_BYTES)
    try:
        publish(path, content)
        if path.read_bytes() != content:
            raise OSError("a file read back differs from what was written")
    finally:
        path.unlink(missing_ok=True)


def new_attempt_id() -> str:
    """Return a fresh id, 32 lower-case hex digits that sort by time (RFC 9562, version 7).

    The 12 bits after the version carry the fraction of the millisecond.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    fraction = (nanoseconds << 12) // 1_000_000
    value = (milliseconds << 80) | (0x7 << 76) | (fraction << 64) | (0b10 << 62)
    return f"{value | secrets.randbits(62):032x}"


def attempt_path(store: Store, run: RunRow, table: str) -> Path:
    """Return where an attempt keeps its rows of a table."""
    group = f"{run.protocol}-{run.protocol_digest[:8]}"
    return store.root / table / group / f"{run.attempt_id}.parquet"


def write_attempt(
    store: Store,
    run: RunRow,
    *,
    metrics: Sequence[MetricRow] = (),
    epochs: Sequence[EpochRow] = (),
    queries: Mapping[str, NDArray[Any]] | None = None,
) -> Path:
    """Add one attempt, whole or not at all, and return its commit record.

    Args:
        store: Where.
        run: What happened.
        metrics: Its values, of any epoch.
        epochs: Its training curve.
        queries: Per-query outcomes of the test part (`encoding.encode_queries` names them).

    Raises:
        HarnessError: A row breaks the schema, or a value is not finite; nothing was written.
        StoreError: The file system refused, or the attempt exists; nothing counts as written.
    """
    contents: dict[str, bytes] = {}
    if metrics:
        contents["metrics"] = encode_metrics(run, metrics)
    if epochs:
        contents["epochs"] = encode_epochs(run, epochs)
    if queries is not None:
        contents["queries"] = encode_queries(run, queries)
    digests = {table: hashlib.sha256(content).hexdigest() for table, content in contents.items()}
    contents[COMMIT] = encode_run(run, digests)  # the last one: dictionaries keep their order
    return _publish_all(store, run, contents)


def _publish_all(store: Store, run: RunRow, contents: Mapping[str, bytes]) -> Path:
    done: list[Path] = []
    try:
        for table, content in contents.items():
            path = attempt_path(store, run, table)
            with readable_errors("write", path):
                publish(path, content)
            done.append(path)
    except BaseException:
        # Without its commit record nothing counts; tidy up what can be, the rest is garbage
        # that `harness.store.maintenance` finds.
        for path in done:
            with suppress(OSError):
                path.unlink()
        raise
    return done[-1]


def write_ensemble(store: Store, rows: Sequence[EnsembleRow]) -> bool:
    """Add the values of one ensemble, whole or not at all; return False if they are there.

    Raises:
        HarnessError: A value is not finite; nothing was written.
        StoreError: The file system refused.
    """
    first = rows[0]
    group = f"{first.protocol}-{first.protocol_digest[:8]}"
    path = store.root / ENSEMBLES / group / f"{first.ensemble_id}.parquet"
    content = encode_ensemble(rows)
    with readable_errors("write", path):
        try:
            publish(path, content)
        except FileExistsError:  # its name says what is in it
            return False
    return True


def finished_keys(store: Store) -> frozenset[str]:
    """Return the keys of the runs that ended well and need not be done again."""
    from harness.store.database import query

    return frozenset(str(key) for (key,) in query(store, "SELECT run_key FROM runs").rows)


def finished_data(store: Store) -> dict[str, frozenset[str]]:
    """Return the data digests that each run has ended well with, by key."""
    from harness.store.database import query

    rows = query(store, "SELECT run_key, data_digest FROM runs WHERE data_digest IS NOT NULL").rows
    found: dict[str, set[str]] = {}
    for key, digest in rows:
        found.setdefault(str(key), set()).add(str(digest))
    return {key: frozenset(digests) for key, digests in found.items()}


def write_protocol(store: Store, digest: str, text: str) -> Path:
    """Keep the canonical text of a protocol beside its runs; a second writing is no error."""
    path = store.root / "protocols" / f"{digest}.yaml"
    with readable_errors("write", path), suppress(FileExistsError):
        publish(path, text.encode())
    return path


def work_folder(store: Store, run_key: str) -> Path:
    """Return the folder for checkpoints and logs of a run, creating it if need be."""
    folder = store.root / WORK / run_key
    with readable_errors("create", folder):
        make_folder(folder)
    return folder


class RunInUseError(HarnessError):
    """Another process is doing this run."""


@contextmanager
def lock(folder: Path) -> Generator[None]:
    """Hold a work folder for this process; the system lets go of it when the process ends.

    The folder is made if need be: whoever held it may have removed it a moment ago.

    Raises:
        RunInUseError: Another process holds it.
    """
    path = folder / ".lock"
    with readable_errors("lock", path):
        file = _open_locked(path)
    with file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _open_locked(path: Path) -> TextIO:
    import fcntl

    while True:
        make_folder(path.parent)
        try:
            file = path.open("a+", encoding="utf-8")
        except FileNotFoundError:  # the folder went away in between
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip() or "unknown owner"
            file.close()
            raise RunInUseError(
                f"another process is doing this run ({owner})",
                hint=f"wait for it, or end it; the lock is {path}",
            ) from error
        except BaseException:
            file.close()
            raise
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        file.close()  # a lock on a file that was removed with its folder locks nobody out


def in_use(store: Store, run_key: str) -> bool:
    """Tell whether some process is doing a run now; it may end, or begin, right after."""
    import fcntl

    try:
        with (store.root / WORK / run_key / ".lock").open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
