"""Give a file a digest of itself: one flipped bit anywhere in it is found, footer included.

Checksums of Parquet pages protect the values but not the footer, and the commit record of an
attempt has no other file that could name its digest. So its footer holds the digest of the file
with zeros in the place of the digest.
"""

from __future__ import annotations

import hashlib

SEAL = "harness.sha256"  # key in the metadata of the file
_DIGITS = 64  # of a SHA-256
UNSEALED = "0" * _DIGITS
_KEY = SEAL.encode()
_LARGEST_GAP = 8  # bytes between key and value: type and length of the value


def seal(content: bytes) -> bytes:
    """Return a file, written with `{SEAL: UNSEALED}` in its metadata, with its digest in place."""
    start = _place(content)
    assert start is not None, "the metadata must hold an empty seal"
    assert content[start : start + _DIGITS] == UNSEALED.encode()
    return (
        content[:start] + hashlib.sha256(content).hexdigest().encode() + content[start + _DIGITS :]
    )


def is_intact(content: bytes) -> bool | None:
    """Tell whether a file is as it was sealed; None if it was never sealed, or lost its seal."""
    start = _place(content)
    if start is None:
        return None
    digest = content[start : start + _DIGITS]
    blank = content[:start] + UNSEALED.encode() + content[start + _DIGITS :]
    return hashlib.sha256(blank).hexdigest().encode() == digest


def _place(content: bytes) -> int | None:
    """Return where the digest begins."""
    key = content.rfind(_KEY)
    if key < 0:
        return None
    after = key + len(_KEY)
    for start in range(after, after + _LARGEST_GAP):
        if _is_hexadecimal(content[start : start + _DIGITS]):
            return start
    return None


def _is_hexadecimal(text: bytes) -> bool:
    return len(text) == _DIGITS and not text.strip(b"0123456789abcdef")
