"""Data sets from the network, or from archives that a person has put in place."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from harness.archives import unpack
from harness.download import Patience, Promise, download, held, partial_path, size_text
from harness.errors import HarnessError, MissingDataError
from harness.specs import DataFile, DatasetSpec

logger = logging.getLogger(__name__)

ReportProgress = Callable[[str, int, int | None], None]
"""Called with what is going on, the bytes done, and the bytes in all (None when unknown)."""


def fetch(
    card: DatasetSpec,
    root: Path,
    *,
    progress: ReportProgress | None = None,
    patience: Patience | None = None,
    keep: bool = False,
) -> Path:
    """Bring the files of a data set below a folder, and return where they are.

    What is there already is not fetched: an archive that a person has put in place, under any
    name if its checksum is known, is checked and unpacked. Of two processes the second waits for
    the first.

    Args:
        card: What the data set consists of.
        root: The folder of all data sets.
        progress: Told about bytes received and bytes unpacked.
        patience: When a mirror is given up.
        keep: Keep a downloaded archive after it is unpacked; those of a person always stay.

    Raises:
        MissingDataError: A person has to get a file; the hint says which, and where to put it.
        HarnessError: A file cannot be fetched, is damaged, or cannot be written.
    """
    folder = root / card.folder
    if not card.files:
        raise HarnessError(f"data set {card.name!r} cannot be fetched", hint=card.how_to_get)
    by_hand = [file for file in card.files if not file.urls and not is_here(file, folder)]
    if by_hand:
        names = " and ".join(str(folder / file.name) for file in by_hand)
        raise MissingDataError(
            f"data set {card.name!r} must be fetched by a person; {names} missing",
            hint=card.how_to_get.replace("FOLDER", str(root)),
        )
    tell = progress or _silent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder / ".fetching"):
            for file in card.files:
                _bring(card, file, root, tell=tell, patience=patience, keep=keep)
    except OSError as error:
        raise HarnessError(
            f"cannot write {folder}: {error.strerror or error}",
            hint="make room, or choose another folder with --data",
        ) from error
    return folder


def is_here(file: DataFile, folder: Path) -> bool:
    """Return whether a file of a data set is in its folder, unpacked or not."""
    return _unpacked(file, folder).exists() or (folder / file.name).exists()


def unfinished(card: DatasetSpec, root: Path) -> list[str]:
    """Return in words what a fetch that has begun has yet to do; nothing if none has begun."""
    folder = root / card.folder
    begun = any(
        is_here(file, folder) or partial_path(folder / file.name).exists() for file in card.files
    )
    lacking = [file for file in card.files if not _unpacked(file, folder).exists()]
    return [_lack(file, folder) for file in lacking] if begun else []


def _lack(file: DataFile, folder: Path) -> str:
    """Return why a file cannot be used yet."""
    if (folder / file.name).exists():
        return f"{file.name} is not unpacked"
    try:
        size = partial_path(folder / file.name).stat().st_size
    except FileNotFoundError:
        return f"{file.name} is missing"
    return f"{size_text(size)} of {file.name} are here"


def _unpacked(file: DataFile, folder: Path) -> Path:
    """Return what a file is once it can be used."""
    path = folder / file.name
    return path.parent / file.holds if file.holds else path


def _bring(
    card: DatasetSpec,
    file: DataFile,
    root: Path,
    *,
    tell: ReportProgress,
    patience: Patience | None,
    keep: bool,
) -> None:
    """Make one file usable: fetch it if it is missing, unpack it if it is packed."""
    folder = root / card.folder
    path = folder / file.name
    if _unpacked(file, folder).exists() and file.holds:
        return
    promise = Promise(file.size, file.md5, file.sha256)
    ours = not path.exists()
    if ours and _taken(path, promise, (path.parent, root)):
        logger.info("%s is a link to a file of another name", path)
    elif ours:
        title = f"{card.name} {path.name}"
        download(
            file.urls,
            path,
            promise,
            progress=lambda done, total: tell(title, done, total),
            patience=patience,
        )
    elif complaint := promise.complaint(path):
        raise HarnessError(
            f"{path} is not the published file: {complaint}",
            hint="move it away, then type the same again",
        )
    if file.holds:
        title = f"{card.name} {path.name}, unpacking"
        unpack(path, file.holds, progress=lambda done, total: tell(title, done, total))
        if ours and not keep:
            path.unlink()


def _taken(path: Path, promise: Promise, folders: Iterable[Path]) -> bool:
    """Link the file that is wanted to its place if it lies in a folder under another name.

    Browsers add numbers to names, and people save archives beside the folder they belong to.
    """
    if not (promise.md5 or promise.sha256):
        return False
    for folder in folders:
        for other in sorted(folder.glob(f"[!.]*{path.suffix}")):
            try:
                if other.is_file() and promise.complaint(other) is None:
                    path.hardlink_to(other)
                    partial_path(path).unlink(missing_ok=True)
                    return True
            except OSError:  # it may not be read, or this disk knows no links
                continue
    return False


def _silent(_: str, __: int, ___: int | None) -> None:
    """Tell nobody."""
