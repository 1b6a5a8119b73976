"""A web server on this machine that can be told to misbehave; for tests of downloads."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit


class Asked(NamedTuple):
    """A request, with the headers that ask for a part of a file."""

    name: str
    range: str | None
    if_range: str | None


@dataclass
class Fault:
    """How a file is served, other than well.

    Attributes:
        status: Answer with this error.
        cut_after: End the connection after this many bytes of an answer.
        stall_after: Send nothing more after this many bytes, until the site is released.
        ranges: Whether parts of the file can be asked for.
        shift: Send parts that begin this many bytes too late.
        sized: Whether the length is said.
        claims: A length that is said instead of the true one.
        tagged: Whether the version is said.
        kind: Content type.
        times: How many answers it spoils; None spoils all.
    """

    status: int | None = None
    cut_after: int | None = None
    stall_after: int | None = None
    ranges: bool = True
    shift: int = 0
    sized: bool = True
    claims: int | None = None
    tagged: bool = True
    kind: str = "application/octet-stream"
    times: int | None = None

    def taken(self) -> Fault:
        """Return what is served now: this fault, or none when it is used up."""
        if self.times is None:
            return self
        self.times -= 1
        return self if self.times >= 0 else Fault()


@dataclass
class Site:
    """What a server has, what is wrong with it, and what it was asked for."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    faults: dict[str, Fault] = field(default_factory=dict[str, Fault])
    asked: list[Asked] = field(default_factory=list[Asked])
    released: threading.Event = field(default_factory=threading.Event)

    def put(self, name: str, content: bytes, fault: Fault | None = None) -> str:
        """Serve a file and return its address."""
        self.files[name] = content
        if fault is not None:
            self.faults[name] = fault
        return f"{self.address}/{name}"


@contextmanager
def serving() -> Generator[Site]:
    """Run a server on a free port of this machine until the block ends."""
    with _Server(("127.0.0.1", 0), _Answers) as server:
        site = server.site = Site(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            site.released.set()
            server.shutdown()
            thread.join()


class _Server(http.server.ThreadingHTTPServer):
    site: Site

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that ends a connection early is what is tested."""


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)
        site = self.server.site
        name = urlsplit(self.path).path[1:]
        site.asked.append(Asked(name, self.headers["Range"], self.headers["If-Range"]))
        fault = site.faults.get(name, Fault()).taken()
        content = site.files.get(name)
        if fault.status is not None or content is None:
            self.send_error(fault.status or 404)
        else:
            self._send(content, fault, site.released)

    def _send(self, content: bytes, fault: Fault, released: threading.Event) -> None:
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        start = self._start(tag) if fault.ranges else 0
        if start > len(content) - 1 and start:
            self._head(416, {"Content-Range": f"bytes */{len(content)}"})
            return
        place = f"bytes {start + fault.shift}-{len(content) - 1}/{len(content)}"
        headers = {"Content-Type": fault.kind}
        headers |= {"Content-Range": place} if start else {}
        headers |= (
            {"Content-Length": str(fault.claims or len(content) - start)} if fault.sized else {}
        )
        headers |= {"ETag": tag} if fault.tagged else {}
        self._head(206 if start else 200, headers)
        body = memoryview(content)[start:]
        if fault.stall_after is not None:
            self.wfile.write(body[: fault.stall_after])
            released.wait(30)
            body = body[fault.stall_after :]
        self.wfile.write(body[: fault.cut_after])

    def _start(self, tag: str) -> int:
        """Return where the part begins that is asked for; 0 if the file is another one by now."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        same = self.headers["If-Range"] in {None, tag}
        return int(asked[1]) if asked and same else 0

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass
