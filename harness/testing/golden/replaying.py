"""Cases against the adapters that plugins register."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor

import harness
from harness.errors import HarnessError, did_you_mean
from harness.registry.building import installed
from harness.testing.golden.cases import Adapter, Case, ReplayError
from harness.testing.golden.comparing import Mismatch, array, compare
from harness.testing.golden.losses import LossAdapter

# Steps on the way, other versions, and values that the authors' code does not give. They are
# compared where an adapter produces them, and not asked for.
INFORMATIONAL = (
    "intermediates",
    "informational_not_tested",
    "loss_if_run_on_torch_ge_1_10",
    "reference_*",
    "*_without_padding_bug",
    "*_standard",
    "*_standard_*",
    "*_intended",
)

DTYPES = (torch.float64, torch.float32)


def adapter_of(method: str) -> Adapter:
    """Return the registered adapter of a method, or the general one of a registered loss.

    Raises:
        HarnessError: There is neither, or two plugins replay one method.
    """
    registry = installed()
    if registry.matching(method, ("replay",)):
        return harness.build("replay", method)
    if registry.matching(method, ("loss",)):
        return LossAdapter(method)
    known = [entry.name for kind in ("replay", "loss") for entry in registry.entries(kind)]
    raise HarnessError(
        f"nothing installed replays the golden method {method!r}",
        hint=did_you_mean(method, known) or "a plugin registers it with the hook harness_replays",
    )


def replay(case: Case, dtype: torch.dtype) -> tuple[Mismatch, ...]:
    """Run a case in a dtype and return where it differs from what is expected.

    Where the authors' code raises (an `error` is expected), ours may refuse with a HarnessError
    or give finite numbers.
    """
    fails_there = "error" in case.expected
    try:
        adapter = adapter_of(case.method)
    except HarnessError as error:
        return (Mismatch(case.case_id, str(error)),)
    try:
        observed = adapter(case, dtype)
    except HarnessError as error:
        refused = fails_there and not isinstance(error, ReplayError)
        return () if refused else (Mismatch(case.case_id, str(error)),)
    except Exception as error:  # noqa: BLE001 - the plugin border: one case's failure
        return (Mismatch(case.case_id, f"{type(error).__name__}: {error}"),)
    if fails_there:
        return tuple(_not_finite(observed, case.case_id))
    return tuple(
        compare(
            _asked(case.expected, observed), observed, case.tolerance(dtype), place=case.case_id
        )
    )


def _asked(expected: Any, observed: Any) -> Any:  # noqa: ANN401 - trees
    """Leave informational entries out, at any depth, unless the adapter has them, too."""
    if isinstance(expected, Mapping):
        has = observed if isinstance(observed, Mapping) else {}
        return {
            key: _asked(value, has.get(key))
            for key, value in expected.items()
            if key in has or not any(fnmatchcase(key, pattern) for pattern in INFORMATIONAL)
        }
    if isinstance(expected, list) and isinstance(observed, list):
        others = (*observed, *[None] * (len(expected) - len(observed)))
        return [_asked(value, other) for value, other in zip(expected, others, strict=False)]
    return expected


def _not_finite(observed: Any, place: str) -> Iterator[Mismatch]:  # noqa: ANN401 - a tree
    if isinstance(observed, Mapping):
        for key, value in observed.items():
            yield from _not_finite(value, f"{place}/{key}")
    elif isinstance(observed, Tensor):
        if observed.is_floating_point() and not observed.isfinite().all():
            yield Mismatch(place, "not finite")
    elif (found := array(observed)) is not None and found.dtype.kind == "f":
        yield from _not_finite(torch.from_numpy(found), place)


# --- counting -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tally:
    """How the cases of one method went in one dtype.

    Attributes:
        method: Whose cases.
        dtype: `float64` or `float32`.
        replayed: Number of cases.
        passed: Of those, without a mismatch.
        mismatches: Of the others, in the order of the cases.
    """

    method: str
    dtype: str
    replayed: int
    passed: int
    mismatches: tuple[Mismatch, ...]


def tally(cases: Iterable[Case]) -> tuple[Tally, ...]:
    """Replay cases in every dtype and count them by method, in the order of first sight."""
    by_method: dict[str, list[Case]] = {}
    for case in cases:
        by_method.setdefault(case.method, []).append(case)
    return tuple(
        _tally(method, group, dtype) for method, group in by_method.items() for dtype in DTYPES
    )


def _tally(method: str, cases: list[Case], dtype: torch.dtype) -> Tally:
    results = [replay(case, dtype) for case in cases]
    return Tally(
        method,
        str(dtype).removeprefix("torch."),
        len(results),
        sum(not mismatches for mismatches in results),
        tuple(mismatch for mismatches in results for mismatch in mismatches),
    )
