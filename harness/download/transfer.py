"""One file from one server, taken up where a connection was cut."""

from __future__ import annotations

import errno
import http.client
import logging
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from harness.download.promises import Promise, size_text

logger = logging.getLogger(__name__)

ReportProgress = Callable[[int, int | None], None]
"""Called with the bytes received and the bytes expected, None when the server does not say."""

PIECE = 1 << 20  # bytes
PARTIAL, WRONG_RANGE = 206, 416  # HTTP statuses
MAY_PASS = {408, 425, 429, 500, 502, 503, 504}
CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a download goes on when it does not get on.

    Attributes:
        timeout: Longest silence of a server, in seconds.
        attempts: Failures in a row, after which a server that had begun is given up.
        pause: Seconds before the second attempt; doubled before each further one.
    """

    timeout: float = 30.0
    attempts: int = 5
    pause: float = 1.0


class _CutError(Exception):
    """The connection ended too early; the same server may give the rest."""


class _StaleError(Exception):
    """What is here is no beginning of what the server has."""


class GaveUpError(Exception):
    """This server does not give the file."""


@dataclass(slots=True)
class Transfer:
    """A file that is being received, and how.

    Attributes:
        file: Descriptor, at its end.
        validator: What the present server calls this version of the file; empty if nothing.
    """

    file: int
    path: Path
    promise: Promise
    patience: Patience
    progress: ReportProgress | None
    validator: str = ""

    @property
    def received(self) -> int:
        """Return the bytes that are here."""
        return os.fstat(self.file).st_size

    @property
    def checkable(self) -> bool:
        """Return whether a checksum can tell that bytes of two connections belong together."""
        return bool(self.promise.md5 or self.promise.sha256)

    def restart(self) -> None:
        """Drop what has come."""
        os.ftruncate(self.file, 0)

    def append(self, data: bytes) -> None:
        """Write all of some bytes."""
        view = memoryview(data)
        while view:
            view = view[os.write(self.file, view) :]


def receive(url: str, transfer: Transfer) -> None:
    """Receive a file from one server and check it.

    Raises:
        GaveUpError: It gives nothing, stops giving, or gives another file.
    """
    transfer.validator = ""
    older_bytes = transfer.received > 0
    while True:
        _receive_all(url, transfer)
        complaint = transfer.promise.complaint(transfer.path)
        if complaint is None:
            return
        transfer.restart()
        if not older_bytes:
            raise GaveUpError(f"this is not the promised file: {complaint}")
        older_bytes = False  # once more from the start: the old ones may have been the bad ones


def _receive_all(url: str, transfer: Transfer) -> None:
    """Receive a file from one server, as often as it takes while more of it comes.

    Raises:
        GaveUpError: It gives nothing, or stops giving.
    """
    start = most = transfer.received
    failures = 0
    while True:
        try:
            return _ask(url, transfer)
        except _StaleError:
            transfer.restart()
            start = most = 0
            continue
        except _CutError as error:
            failures = 0 if transfer.received > most else failures + 1
            most = max(most, transfer.received)
            if most == start or failures >= transfer.patience.attempts:
                raise GaveUpError(str(error)) from error
            logger.info("%s: %s; going on", url, error)
        time.sleep(transfer.patience.pause * 2**failures)


def _ask(url: str, transfer: Transfer) -> None:
    """Ask once for what is missing, and append what comes.

    Raises:
        _CutError: Less came than was announced, or nothing.
        _StaleError: The received part does not belong to the server's file.
        GaveUpError: The server refuses.
    """
    try:
        with _open(url, transfer) as response:
            total = _begin(response, transfer)
            while total is None or transfer.received < total:
                room = PIECE if total is None else min(PIECE, total - transfer.received)
                # read1 gives what has come; read would lose it when the rest never comes
                if not (data := _read(response, room)):
                    break
                transfer.append(data)
                if transfer.progress is not None:
                    transfer.progress(transfer.received, total)
    except HTTPError as error:
        _refused(error, transfer)
        return
    if total is not None and transfer.received != total:
        received = transfer.received
        raise _CutError(f"the connection ended after {received} of {total} bytes")


def _open(url: str, transfer: Transfer) -> Any:  # noqa: ANN401 - urllib's responses are untyped
    """Send the request, for the rest of the file if there is a beginning."""
    if urlsplit(url).scheme not in {"http", "https"}:
        raise GaveUpError("not an http or https address")
    # some hosts refuse the user agent of urllib
    headers = {"User-Agent": "dml-harness", "Accept-Encoding": "identity"}
    if transfer.received:
        headers["Range"] = f"bytes={transfer.received}-"
        if transfer.validator:
            headers["If-Range"] = transfer.validator
    try:
        request = Request(url, headers=headers)  # noqa: S310 - the scheme is checked above
        return urlopen(request, timeout=transfer.patience.timeout)  # noqa: S310
    except HTTPError:
        raise
    except (URLError, OSError, http.client.HTTPException) as error:
        raise _CutError(_reason(error)) from error


def _read(response: Any, most: int) -> bytes:  # noqa: ANN401
    try:
        return response.read1(most)
    except (OSError, http.client.HTTPException) as error:
        raise _CutError(_reason(error)) from error


def _begin(response: Any, transfer: Transfer) -> int | None:  # noqa: ANN401
    """Return how long the whole file is, after making the received part fit the answer.

    Raises:
        _StaleError: Another part is sent than was asked for.
        GaveUpError: It is no file, or has not the promised length.
        OSError: There is no room for it.
    """
    total: int | None = response.length
    start = 0  # a server that does not know ranges, or has a new file, sends all of it
    if response.status == PARTIAL:
        start, total = _range(response.headers)
        if start != transfer.received:
            if not transfer.received:
                raise GaveUpError("it sent a part when it was asked for the whole")
            raise _StaleError
    if response.headers.get_content_type() == "text/html":
        raise GaveUpError("it sent a web page")
    promised = transfer.promise.size
    if total is not None and promised is not None and total != promised:
        raise GaveUpError(f"it offers {total:,} bytes, not {promised:,}")
    if start == 0:
        transfer.restart()
    etag: str = response.headers.get("ETag", "")
    strong = etag and not etag.startswith("W/")
    transfer.validator = etag if strong else response.headers.get("Last-Modified", "")
    _check_room(transfer, 0 if total is None else total - start)
    return total


def _range(headers: Any) -> tuple[int, int | None]:  # noqa: ANN401
    """Return where the part that is sent begins, and the length of the whole; -1 if unsaid."""
    place = CONTENT_RANGE.match(headers.get("Content-Range", ""))
    return (int(place[1] or -1), int(place[2])) if place else (-1, None)


def _check_room(transfer: Transfer, missing: int) -> None:
    free = shutil.disk_usage(transfer.path.parent).free
    if missing > free:
        raise OSError(errno.ENOSPC, f"{size_text(missing)} needed, {size_text(free)} free")


def _refused(error: HTTPError, transfer: Transfer) -> None:
    """Take an answer that is no file: an error, unless it says that nothing is missing.

    Raises:
        _StaleError: The server's file is shorter than what is here.
        _CutError: The server may answer otherwise later.
        GaveUpError: It will not.
    """
    if error.code == WRONG_RANGE and transfer.received:
        if _range(error.headers)[1] == transfer.received:
            return
        raise _StaleError from error
    kind = _CutError if error.code in MAY_PASS else GaveUpError
    raise kind(f"{error.code} {error.reason}") from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error or type(error).__name__)
