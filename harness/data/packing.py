"""Many strings in one piece of memory.

A list of strings is one object each: 100 bytes more than its text, and a reference count whose
change makes a forked worker copy the page it lies on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray


class PackedStrings(Sequence[str]):
    """A sequence of strings that is two objects, whatever its length."""

    def __init__(self, text: bytes, ends: NDArray[np.int64]) -> None:
        """Take UTF-8 text and where in it each string ends."""
        self._text = text
        self._ends = ends

    @classmethod
    def of(cls, strings: Iterable[str]) -> PackedStrings:
        """Pack strings; those that are packed already stay as they are."""
        if isinstance(strings, cls):
            return strings
        encoded = [string.encode(errors="surrogateescape") for string in strings]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return cls(b"".join(encoded), np.cumsum(lengths, dtype=np.int64))

    def __len__(self) -> int:
        """Return the number of strings."""
        return len(self._ends)

    @overload
    def __getitem__(self, index: int, /) -> str: ...
    @overload
    def __getitem__(self, index: slice, /) -> PackedStrings: ...
    def __getitem__(self, index: int | slice, /) -> str | PackedStrings:
        """Return one string, or some of them packed again."""
        if isinstance(index, slice):
            return PackedStrings.of(self[one] for one in range(*index.indices(len(self))))
        place = range(len(self))[index]  # of a negative index; refuses one out of range
        start = int(self._ends[place - 1]) if place else 0
        return self._text[start : int(self._ends[place])].decode(errors="surrogateescape")
