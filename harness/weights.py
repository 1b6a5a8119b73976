"""Weight files: where they are, and how they get here.

Only `fetch` uses the network, and only when a user allows it. Nothing here needs torch, so a plan
can ask whether a file is here; `harness.kit.initial_weights` reads one.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from harness.errors import HarnessError, MissingDataError, did_you_mean

if TYPE_CHECKING:
    from harness.contracts import BackboneContext
    from harness.specs import WeightFile

logger = logging.getLogger(__name__)

ReportProgress = Callable[[int, int | None], None]
"""Called with the bytes received and the bytes expected, None when the server does not say."""

NO_WEIGHTS = "none"
PIECE = 1 << 20  # bytes


# --- where a file is ----------------------------------------------------------------------------


def default_folder() -> Path:
    """Return the folder of downloaded weights: `HARNESS_WEIGHTS` or `~/.cache/harness/weights`."""
    chosen = os.environ.get("HARNESS_WEIGHTS")
    return Path(chosen or "~/.cache/harness/weights").expanduser()


def file_name(file: WeightFile) -> str:
    """Return the name that a weight file has in every folder: the last part of its address."""
    return unquote(urlsplit(file.url).path).rpartition("/")[2]


def locate(file: WeightFile, folder: Path | None = None) -> Path | None:
    """Return where a weight file is, or None; its content is not looked at.

    The folder comes first, then the cache of torch hub, where earlier work may have left it.
    """
    return next((path for path in _places(file, folder) if path.is_file()), None)


def require(
    file: WeightFile,
    folder: Path | None = None,
    *,
    download: bool = False,
    progress: ReportProgress | None = None,
) -> Path:
    """Return the path of a weight file whose content is what its publisher promised.

    Args:
        file: Address and SHA-256, or the leading digits of it.
        folder: Where weight files are kept; None means `default_folder()`.
        download: Whether a missing file may be fetched.
        progress: Told about the bytes of a download.

    Raises:
        MissingDataError: It is not here, and may not be fetched.
        HarnessError: It cannot be fetched, or is damaged.
    """
    path = locate(file, folder)
    if path is None and download:
        return fetch(file, folder, progress=progress)
    if path is None:
        looked = " and ".join(str(place) for place in _places(file, folder))
        raise MissingDataError(
            f"weights are not on this machine; looked for {looked}",
            hint=f"add --download, or put {file.url} there yourself",
        )
    digest = _sha256(path)
    if not digest.startswith(file.sha256.lower()):
        raise HarnessError(
            f"{path} is damaged: its SHA-256 begins with {digest[: len(file.sha256)]}, "
            f"not with {file.sha256}",
            hint="delete it, then run again with --download",
        )
    return path


def choose(weights: str, published: Mapping[str, WeightFile]) -> WeightFile | Path | None:
    """Return what a protocol's `backbone.weights` means; None for random values.

    Args:
        weights: `none`, a key of `published`, or a path.
        published: The weights on the backbone's card.

    Raises:
        HarnessError: Neither a published key nor a file.
    """
    if weights == NO_WEIGHTS:
        return None
    if weights in published:
        return published[weights]
    path = Path(weights).expanduser()
    if not path.is_file():
        names = [NO_WEIGHTS, *sorted(published)]
        raise HarnessError(
            f"backbone.weights {weights!r} is no file, and not one of {', '.join(names)}",
            hint=did_you_mean(weights, names) or f"set backbone.weights: {names[-1]}",
        )
    return path


def fingerprint(weights: str, published: Mapping[str, WeightFile]) -> str:
    """Return what stands for initial weights in a run's key: `none`, or the digest of the file.

    So a file that was trained again is another run, and one that was moved is not. A published
    file without a digest goes by its address.

    Raises:
        HarnessError: As `choose` says, or the file cannot be read.
    """
    chosen = choose(weights, published)
    if chosen is None:
        return NO_WEIGHTS
    if isinstance(chosen, Path):
        return f"sha256:{_sha256(chosen)}"
    return f"sha256:{chosen.sha256.lower()}" if chosen.sha256 else f"url:{chosen.url}"


def resolve(
    published: Mapping[str, WeightFile],
    context: BackboneContext,
    *,
    progress: ReportProgress | None = None,
) -> Path | None:
    """Return the file that holds the initial weights of a backbone; None for random values.

    Args:
        published: The weights on the backbone's card.
        context: What the protocol chose, and whether a missing file may be fetched.
        progress: Told about the bytes of a download.

    Raises:
        HarnessError: As `choose` and `require` say.
    """
    chosen = choose(context.weights, published)
    if chosen is None or isinstance(chosen, Path):
        return chosen
    return require(chosen, context.folder, download=context.download, progress=progress)


def _places(file: WeightFile, folder: Path | None) -> tuple[Path, Path]:
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    torch_home = Path(os.environ.get("TORCH_HOME") or Path(cache) / "torch").expanduser()
    name = file_name(file)
    return (folder or default_folder()) / name, torch_home / "hub" / "checkpoints" / name


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise HarnessError(f"cannot read {path}: {error.strerror}") from error


# --- fetching -----------------------------------------------------------------------------------


class Piece(NamedTuple):
    """Some bytes of a download, and how many all of it has (None when unknown)."""

    data: bytes
    total: int | None


def fetch(
    file: WeightFile,
    folder: Path | None = None,
    *,
    progress: ReportProgress | None = None,
    timeout: float = 30.0,
) -> Path:
    """Download a weight file; the folder holds all of it afterwards, or nothing.

    Args:
        file: Address and SHA-256, or the leading digits of it.
        folder: Where weight files are kept; None means `default_folder()`.
        progress: Told about the bytes received.
        timeout: Longest silence of the server, in seconds.

    Raises:
        HarnessError: The server does not give it, it is not what was promised, or it cannot be
            written.
    """
    folder = folder or default_folder()
    target = folder / file_name(file)
    partial = folder / f".{target.name}.{secrets.token_hex(4)}.tmp"
    logger.info("downloading %s to %s", file.url, target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        digest = _save(partial, _pieces(file.url, timeout=timeout), progress)
        if not digest.startswith(file.sha256.lower()):
            raise HarnessError(
                f"{file.url} is not the promised file: its SHA-256 begins with "
                f"{digest[: len(file.sha256)]}, not with {file.sha256}",
                hint="try again; if it stays so, a proxy or the server has changed the file",
            )
        partial.replace(target)
    except OSError as error:  # of the disk; those of the network are HarnessErrors by now
        raise HarnessError(
            f"cannot write {target}: {error.strerror}",
            hint="set HARNESS_WEIGHTS to a folder with space that you may write to",
        ) from error
    finally:
        _remove(partial)
    return target


def _save(path: Path, pieces: Iterator[Piece], progress: ReportProgress | None) -> str:
    """Write the pieces to a file that is on disk afterwards; return their SHA-256."""
    digest = hashlib.sha256()
    received = 0
    with path.open("xb") as handle:
        for piece in pieces:
            handle.write(piece.data)
            digest.update(piece.data)
            received += len(piece.data)
            if progress is not None:
                progress(received, piece.total)
        handle.flush()
        os.fsync(handle.fileno())
    return digest.hexdigest()


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:  # the folder itself may be the trouble; its error is on its way
        logger.debug("cannot remove %s: %s", path, error)


def _pieces(url: str, *, timeout: float) -> Iterator[Piece]:
    """Yield the content behind an address; every failure of the network is a HarnessError."""
    if urlsplit(url).scheme not in {"http", "https"}:
        raise HarnessError(f"{url} is not an http or https address")
    # some hosts refuse the user agent of urllib
    request = Request(url, headers={"User-Agent": "dml-harness"})  # noqa: S310 - checked above
    try:
        with urlopen(request, timeout=timeout) as response:  # noqa: S310
            total = response.length
            received = 0
            while data := response.read(PIECE):
                received += len(data)
                yield Piece(data, total)
    except HTTPError as error:
        raise HarnessError(f"cannot download {url}: {error.code} {error.reason}") from error
    except (URLError, OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise HarnessError(
            f"cannot download {url}: {reason}",
            hint="check the network, or fetch the file on another machine",
        ) from error
    if total is not None and received != total:
        raise HarnessError(
            f"cannot download {url}: the connection ended after {received} of {total} bytes",
            hint="try again",
        )
