"""The errors a user may see.

    HarnessError            bad input or a broken set-up: exit code 2
    ├── StoreError          the store cannot be read or written: exit code 4
    └── MissingDataError    a data set or weights are not on this machine: exit code 2

Everything else that escapes is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HarnessError(Exception):
    """Say what is wrong, with the value, and what the user can type about it.

    Attributes:
        hint: What to type or to change; shown on the line after the message.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        """Keep message and hint apart, so that a caller can add to either."""
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Return the message, and the hint in brackets when there is one."""
        return f"{self.message} ({self.hint})" if self.hint else self.message


class StoreError(HarnessError):
    """The run store cannot be read or written."""

    exit_code = 4


class MissingDataError(HarnessError):
    """A data set or a weight file is not on this machine."""


def did_you_mean(word: str, valid: Iterable[str], *, most: int = 3) -> str:
    """Return `did you mean 'a' or 'b'?`, or an empty string when nothing is near."""
    near = difflib.get_close_matches(word, sorted(set(valid)), n=most, cutoff=0.6)
    return f"did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
