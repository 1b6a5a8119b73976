"""What a golden file holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError

if TYPE_CHECKING:
    import torch

Numbers = Mapping[str, Any]
"""A tree of numbers by name: tensors, arrays, lists, or mappings of those."""


class ReplayError(HarnessError):
    """An adapter does not understand a case; never a right answer."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a number may be off: at most atol + rtol |expected|.

    Attributes:
        rtol: Relative part.
        atol: Absolute part.
        per_array: |expected| is the largest of the whole array instead of each entry's own.
    """

    rtol: float
    atol: float
    per_array: bool = False

    def allowed(self, expected: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the largest error of each entry of a finite array."""
        size = np.abs(expected)
        return np.asarray(
            self.atol + self.rtol * (size.max(initial=0.0) if self.per_array else size)
        )


@dataclass(frozen=True, slots=True)
class Case:
    """One golden case.

    Attributes:
        method: Whose numbers these are.
        case_id: Unique inside its file.
        kind: How the inputs are used: `single`, `sequence` or `train_steps`.
        content: The whole case as written.
        file: Name of the file it stands in.
    """

    method: str
    case_id: str
    kind: str
    content: Numbers
    file: str

    @property
    def params(self) -> Numbers:
        """The parameters, by the names of the method's authors; none where a case has none."""
        return self.content.get("params") or {}

    @property
    def inputs(self) -> Numbers:
        """The inputs; none where a case has none."""
        return self.content.get("inputs") or {}

    @property
    def expected(self) -> Numbers:
        """The numbers of the authors' code."""
        return self.content["expected"]

    def tolerance(self, dtype: torch.dtype) -> Tolerance:
        """Return what the case allows in a dtype.

        A case without an entry for float64 was computed by code that is float32 inside, and the
        entry for float32 holds for both.
        """
        entries = self.content["tolerance"]
        entry = entries.get(str(dtype).removeprefix("torch.")) or entries["float32"]
        per_array = str(entries.get("rule", "")).startswith("per array")
        return Tolerance(entry["rtol"], entry["atol"], per_array)


class Adapter(Protocol):
    """Runs a case and returns what happened under the names that the case expects."""

    def __call__(self, case: Case, dtype: torch.dtype) -> Numbers:
        """Return the numbers of a replay; HarnessError if the case cannot be run."""
        ...


def read_cases(path: Path) -> tuple[Case, ...]:
    """Return the cases of a file, or of every `*.json` in a folder; files and cases in order.

    Raises:
        HarnessError: The folder has no such file, or a file is not a list of cases.
    """
    if not path.exists():
        raise HarnessError(f"there is no {path}", hint="name a golden file or a folder of them")
    paths = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not paths:
        raise HarnessError(f"no golden files in {path}", hint="set HARNESS_GOLDENS to a folder")
    return tuple(case for one in paths for case in _cases_of(one))


def _cases_of(path: Path) -> Iterator[Case]:
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(contents, list):
            raise TypeError("not a list")  # noqa: TRY301 - one message for every wrong file
        for content in contents:
            if not isinstance(content["expected"], Mapping):
                raise TypeError("expected is not a mapping")  # noqa: TRY301
            yield Case(
                method=content["method"],
                case_id=str(content["case_id"]),
                kind=content.get("kind", "single"),
                content=content,
                file=path.name,
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HarnessError(f"{path} is not a list of golden cases: {error!r}") from error
