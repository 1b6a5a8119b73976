"""Weight files: where they are, and how they get here.

Only `fetch` uses the network, and only when a user allows it. Nothing here needs torch, so a plan
can ask whether a file is here; `harness.kit.initial_weights` reads one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from harness.download import Patience, Promise, ReportProgress, download, file_digest
from harness.errors import HarnessError, MissingDataError, did_you_mean

if TYPE_CHECKING:
    from harness.contracts import BackboneContext
    from harness.specs import WeightFile

NO_WEIGHTS = "none"


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
        return file_digest(path)
    except OSError as error:
        raise HarnessError(f"cannot read {path}: {error.strerror}") from error


# --- fetching -----------------------------------------------------------------------------------


def fetch(
    file: WeightFile,
    folder: Path | None = None,
    *,
    progress: ReportProgress | None = None,
    patience: Patience | None = None,
) -> Path:
    """Download a weight file; the folder holds all of it afterwards, or what has come of it.

    Args:
        file: Address and SHA-256, or the leading digits of it.
        folder: Where weight files are kept; None means `default_folder()`.
        progress: Told about the bytes received.
        patience: When the server is given up.

    Raises:
        HarnessError: The server does not give it, it is not what was promised, or it cannot be
            written.
    """
    target = (folder or default_folder()) / file_name(file)
    promise = Promise(sha256=file.sha256)
    return download([file.url], target, promise, progress=progress, patience=patience)
