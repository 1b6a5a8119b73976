"""A file from the first of its mirrors that gives it as promised."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.download.promises import Promise, size_text
from harness.download.transfer import GaveUpError, Patience, ReportProgress, Transfer, receive
from harness.errors import HarnessError

logger = logging.getLogger(__name__)


def download(
    urls: Sequence[str],
    target: Path,
    promise: Promise | None = None,
    *,
    progress: ReportProgress | None = None,
    patience: Patience | None = None,
) -> Path:
    """Bring a file here from the first address that gives it as promised.

    A connection that is cut is taken up where it ended, by this call and by the next one: what
    has come waits in `.NAME.part` beside the target. Without a checksum only this call goes on,
    and only if the server says that its file is still the same. A second process waits for the
    first. A target that exists is left alone.

    Args:
        urls: Mirrors, in the order in which they are tried.
        target: Where the file shall be; folders are made.
        promise: What its publisher says of it.
        progress: Told about the bytes received.
        patience: When a mirror is given up.

    Raises:
        HarnessError: No mirror gives it as promised, or it cannot be written.
    """
    promise, patience = promise or Promise(), patience or Patience()
    partial = partial_path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with held(partial) as file:
            if not target.exists():
                _from_any(urls, target, Transfer(file, partial, promise, patience, progress))
                os.fsync(file)
                partial.replace(target)
    except OSError as error:  # of the disk; those of the network are dealt with by now
        raise HarnessError(
            f"cannot write {target}: {error.strerror or error}",
            hint="make room, or set HARNESS_DATA or HARNESS_WEIGHTS to another folder",
        ) from error
    return target


def partial_path(target: Path) -> Path:
    """Return where what has come of a file waits for the rest."""
    return target.with_name(f".{target.name}.part")


def _from_any(urls: Sequence[str], target: Path, transfer: Transfer) -> None:
    """Receive a file from the first mirror that gives it.

    Raises:
        HarnessError: None does; names each with its reason.
    """
    reasons: list[str] = []
    for url in urls:
        logger.info("downloading %s to %s", url, transfer.path)
        try:
            if not transfer.checkable:
                transfer.restart()  # nobody could tell whether these bytes are of the same file
            receive(url, transfer)
        except GaveUpError as error:
            reasons.append(f"{url}: {error}")
        except BaseException:
            if not transfer.checkable:
                transfer.restart()
            raise
        else:
            return
    if not transfer.checkable:
        transfer.restart()
    kept = transfer.received
    raise HarnessError(
        f"cannot download {target.name}: {'; '.join(reasons)}",
        hint=f"{size_text(kept)} are kept; the same command goes on from there"
        if kept
        else f"check the network, or get it on another machine and put it at {target}",
    )


@contextmanager
def held(path: Path) -> Generator[int]:
    """Open a file for this process alone, as a descriptor; wait for whoever has it.

    An empty file is removed at the end, so it may serve as a lock.
    """
    import fcntl

    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.warning("another process is at %s; waiting for it", path.parent)
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(file, path):
                continue  # whoever had it has moved it away
            try:
                yield file
            finally:
                if _is_at(file, path) and not os.fstat(file).st_size:
                    path.unlink()
            return
        finally:
            os.close(file)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
