"""Which runs belong together in an ensemble: those of one method and seed, one for each fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from harness.errors import HarnessError, did_you_mean
from harness.store.database import query
from harness.store.embeddings import kept_attempts
from harness.store.writer import Store

# Of each fold the run that a leaderboard shows, as the view `scores` picks it.
_RUNS = """
    SELECT protocol, protocol_digest, data_digest, dataset, method, seed, fold, run_key
    FROM runs WHERE leaderboard_eligible AND NOT smoke AND len(deviations) = 0
    QUALIFY row_number() OVER (
        PARTITION BY protocol_digest, data_digest, method, seed, fold
        ORDER BY ended_at DESC, attempt_id DESC
    ) = 1
    ORDER BY ALL
"""
# Attempts at one run with one copy of the data have equal results, so any of them will do that
# kept its embeddings.
_ATTEMPTS = """
    SELECT run_key, data_digest, attempt_id FROM attempts WHERE status = 'ok'
    ORDER BY ended_at, attempt_id
"""


class Member(NamedTuple):
    """The model of one fold.

    Attributes:
        fold: Which.
        run_key: Its run.
        attempt_id: The first attempt at it that kept its embeddings; empty if none did.
    """

    fold: int
    run_key: str
    attempt_id: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """What may be joined: the runs of one method and seed.

    Attributes:
        protocol, protocol_digest, data_digest, dataset, method, seed: As in their rows.
        members: Those that ended well, by fold.
    """

    protocol: str
    protocol_digest: str
    data_digest: str
    dataset: str
    method: str
    seed: int
    members: tuple[Member, ...]


def candidates(store: Store, protocol: str | None = None) -> tuple[Candidate, ...]:
    """Return the runs that ended well, by method and seed; no trials, rehearsals, deviations.

    Raises:
        HarnessError: There is none of the protocol.
    """
    kept, rows = _kept(store), query(store, _RUNS).rows
    found = [_candidate(list(runs), kept) for _, runs in groupby(rows, lambda row: row[:-2])]
    if protocol is None:
        return tuple(found)
    chosen = [c for c in found if c.protocol == protocol or c.protocol_digest.startswith(protocol)]
    if not chosen:
        names = sorted({one.protocol for one in found})
        listed = did_you_mean(protocol, names) or f"there are runs of {', '.join(names) or 'none'}"
        raise HarnessError(f"no run of protocol {protocol!r} ended well", hint=listed)
    return tuple(chosen)


def _candidate(runs: Sequence[Sequence[Any]], kept: Mapping[tuple[str, str], str]) -> Candidate:
    """Return what may be joined of some rows of `_RUNS` that differ in the last two columns."""
    protocol, protocol_digest, data_digest, dataset, method, seed, *_ = runs[0]
    return Candidate(
        protocol=protocol,
        protocol_digest=protocol_digest,
        data_digest=data_digest,
        dataset=dataset,
        method=method,
        seed=seed,
        members=tuple(
            Member(fold, key, kept.get((key, data_digest), "")) for *_, fold, key in runs
        ),
    )


def _kept(store: Store) -> Mapping[tuple[str, str], str]:
    """Return the first attempt with embeddings of each run and copy of the data."""
    there = kept_attempts(store)
    found: dict[tuple[str, str], str] = {}
    if there:
        for run_key, digest, attempt_id in query(store, _ATTEMPTS).rows:
            if attempt_id in there:
                found.setdefault((str(run_key), str(digest)), str(attempt_id))
    return found
