"""Publish a file whole or not at all, on any POSIX file system."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from harness.errors import StoreError

TEMPORARY = ".tmp"  # with the leading dot, invisible to DuckDB's and to pyarrow's globs
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})


def publish(path: Path, content: bytes) -> None:
    """Make `path` appear with its whole content, durable when this returns.

    Raises:
        FileExistsError: Something has that name already; it is left as it is.
        OSError: The file system refused; nothing visible was left behind.
    """
    with publishing(path) as file:
        file.write(content)


@contextmanager
def publishing(path: Path) -> Generator[BinaryIO]:
    """Open a file that appears as `path`, whole and durable, when the block ends well.

    Raises:
        FileExistsError: Something has that name already; it is left as it is.
        OSError: The file system refused; nothing visible was left behind.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _give_name(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, each durable in the one above."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


@contextmanager
def readable_errors(action: str, path: Path) -> Generator[None]:
    """Turn an error of the operating system into a StoreError that names the path.

    Args:
        action: What was tried, as in "write".
        path: What it was tried on.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "choose another folder with --store"
        if error.errno in _NO_SPACE:
            hint = f"free some space, or {hint}"
        raise StoreError(f"cannot {action} {path}: {reason}", hint=hint) from error


def _give_name(temporary: Path, path: Path) -> None:
    """Name the file without overwriting: a hard link fails where the name is taken."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Such a file system (exFAT, some network mounts) leaves a gap between test and rename;
        # names in the store are unique by construction, so nobody falls into it.
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        temporary.rename(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
