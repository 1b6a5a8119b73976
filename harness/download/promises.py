"""What a publisher says of a file, and whether a file is so."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Promise:
    """What a publisher says of a file; what is empty is not checked.

    Attributes:
        size: Bytes.
        md5: Hex digits.
        sha256: Hex digits, or the leading ones.
    """

    size: int | None = None
    md5: str = ""
    sha256: str = ""

    def complaint(self, path: Path) -> str | None:
        """Return what about a file is not as promised; None if all is.

        Raises:
            OSError: The file cannot be read.
        """
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            return f"it has {size:,} bytes, not {self.size:,}"
        for title, name, wanted in (("MD5", "md5", self.md5), ("SHA-256", "sha256", self.sha256)):
            digest = file_digest(path, name) if wanted else ""
            if not digest.startswith(wanted.lower()):
                return f"its {title} is {digest}, not {wanted}{'…' * (len(wanted) < len(digest))}"
        return None


def file_digest(path: Path, name: str = "sha256") -> str:
    """Return the hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, name).hexdigest()


def size_text(num_bytes: int) -> str:
    """Return a size as people read it.

    >>> size_text(900), size_text(1_319_022), size_text(5 * 2**30)
    ('900 bytes', '1.3 MiB', '5.0 GiB')
    """
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20)):
        if num_bytes >= factor / 10:
            return f"{num_bytes / factor:.1f} {unit}"
    return f"{num_bytes} bytes"
