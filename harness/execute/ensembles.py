"""Score the models of all folds of one seed as one, from their saved embeddings.

The way of the data:

    candidates      Store                  -> (Candidate, …), one per method and seed
    score           Candidate, Protocol    -> (EnsembleRow, …)
    join_all        does both for a store; rows are in it
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal

from harness.documents import digest_of, read, validate
from harness.errors import HarnessError
from harness.evaluation.evaluate import evaluate_embeddings
from harness.evaluation.joining import concatenate
from harness.evaluation.saved import embeddings_of
from harness.execute.assembly import resolve_device
from harness.execute.members import Candidate, Member, candidates
from harness.protocol import Protocol
from harness.registry import Registry
from harness.settings import DEFAULT_MEMORY
from harness.specs import MetricSpec
from harness.store import embeddings
from harness.store.database import query
from harness.store.schema import EnsembleRow, finite_or_none
from harness.store.writer import Store, write_ensemble

KIND = "concatenated"
_ID_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Joined:
    """What became of a candidate.

    Attributes:
        candidate: It.
        state: `new`, `known` (the store had it), `incomplete` (a member is missing) or `failed`.
        reason: Why it is incomplete or failed.
    """

    candidate: Candidate
    state: Literal["new", "known", "incomplete", "failed"]
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranker:
    """How rankings are computed; nothing here changes a result."""

    device: str = "cpu"
    backend: str = "torch"
    memory: int = DEFAULT_MEMORY


def join_all(
    store: Store,
    registry: Registry,
    *,
    protocol: str | None = None,
    digests: Collection[str] | None = None,
    ranker: Ranker | None = None,
    on_joined: Callable[[Joined], None] = lambda _: None,
) -> tuple[Joined, ...]:
    """Add the ensembles that the store can have and does not have yet.

    Args:
        store: To read and to add to.
        registry: For the protocols' metrics.
        protocol: Only of this name, or of a digest that begins like this.
        digests: Only of these protocols.
        ranker: How to rank; None takes the processor.
        on_joined: Hears of each candidate as soon as it is done.

    Returns:
        What became of each method and seed under a protocol with more than one fold.

    Raises:
        HarnessError: No run of `protocol` ended well, or it has one fold; no such device or
            backend.
    """
    ranker = ranker or Ranker()
    resolve_device(ranker.device)  # what is wrong with these is wrong with all of them
    registry.get("backend", ranker.backend)
    found = candidates(store, protocol)
    if digests is not None:
        found = tuple(one for one in found if one.protocol_digest in digests)
    protocols = {digest: _protocol(store, digest) for digest in {c.protocol_digest for c in found}}
    several = [c for c in found if len(protocols[c.protocol_digest].split.fold_indices) > 1]
    if protocol is not None and not several:
        raise HarnessError(f"protocol {protocol} has one fold: there is nothing to join")
    known = {str(id_) for (id_,) in query(store, "SELECT ensemble_id FROM all_ensembles").rows}
    done: list[Joined] = []
    for candidate in several:
        measure = _Measure(protocols[candidate.protocol_digest], registry, ranker)
        done.append(_join(candidate, measure, store, known=known))
        on_joined(done[-1])
    return tuple(done)


def _protocol(store: Store, digest: str) -> Protocol:
    """Read the protocol that runs were done under, as the store keeps it."""
    return validate(Protocol, read(store.root / "protocols" / f"{digest}.yaml"))


# --- one of them ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Measure:
    """What to measure under a protocol, and how."""

    protocol: Protocol
    registry: Registry
    ranker: Ranker

    def metrics(self) -> Mapping[str, MetricSpec]:
        """Return the protocol's metrics by name."""
        names = self.protocol.evaluation.metrics
        cards = {name: self.registry.metric(name)[0].card for name in names}
        return {name: card for name, card in cards.items() if isinstance(card, MetricSpec)}

    def identify(self, members: Sequence[Member]) -> str:
        """Return the id of an ensemble: a hash of everything that determines its values."""
        facts = {
            "kind": KIND,
            "members": [member.attempt_id for member in members],
            "distance": self.protocol.evaluation.distance,
            "metrics": {name: card.version for name, card in self.metrics().items()},
        }
        return digest_of(facts)[:_ID_DIGITS]


def _join(
    candidate: Candidate, measure: _Measure, store: Store, *, known: Collection[str]
) -> Joined:
    """Join the members of the protocol's folds, if all are there."""
    there = {member.fold: member for member in candidate.members}
    folds = measure.protocol.split.fold_indices
    if absent := [fold for fold in folds if fold not in there]:
        return Joined(candidate, "incomplete", f"fold {_listed(absent)}: no run ended well")
    if bare := [fold for fold in folds if not there[fold].attempt_id]:
        reason = f"fold {_listed(bare)}: run without --save-embeddings"
        return Joined(candidate, "incomplete", reason)
    members = [there[fold] for fold in folds]
    if measure.identify(members) in known:
        return Joined(candidate, "known")
    try:
        rows = _score(candidate, members, measure, store)
    except HarnessError as error:
        return Joined(candidate, "failed", error.message)
    return Joined(candidate, "new" if write_ensemble(store, rows) else "known")


def _score(
    candidate: Candidate, members: Sequence[Member], measure: _Measure, store: Store
) -> list[EnsembleRow]:
    """Rank by all members at once and return one row per metric.

    A loss's own distance means nothing between joined embeddings: the protocol's ranks them.
    """
    evaluation, ranker, cards = measure.protocol.evaluation, measure.ranker, measure.metrics()
    sides = _read(candidate, members, store)
    found = evaluate_embeddings(
        *embeddings_of(*sides, normalize=False, device=resolve_device(ranker.device)),
        metrics=tuple(cards),
        distance=evaluation.distance,
        memory=ranker.memory,
        backend=ranker.backend,
    )
    shared: dict[str, Any] = {
        "ensemble_id": measure.identify(members),
        "kind": KIND,
        "members": tuple(member.attempt_id for member in members),
        "run_keys": tuple(member.run_key for member in members),
        "num_members": len(members),
        "protocol": candidate.protocol,
        "protocol_digest": candidate.protocol_digest,
        "data_digest": candidate.data_digest,
        "dataset": candidate.dataset,
        "method": candidate.method,
        "seed": candidate.seed,
        "embedding_dim": int(sides[0].embeddings.shape[1]),
        "distance": evaluation.distance,
        "computed_at": datetime.now(UTC),
        "harness_version": version("dml-harness"),
    }
    return [
        EnsembleRow(
            metric=name,
            metric_version=card.version,
            higher_is_better=card.higher_is_better,
            value=finite_or_none(found[name]),
            **shared,
        )
        for name, card in cards.items()
    ]


def _read(
    candidate: Candidate, members: Sequence[Member], store: Store
) -> tuple[embeddings.Side, embeddings.Side | None]:
    """Return queries and gallery of all members as one model; no gallery if they are the same.

    Raises:
        HarnessError: A file is damaged, or the members were not tested on the same samples.
    """
    queries: dict[str, embeddings.Side] = {}
    galleries: dict[str, embeddings.Side] = {}
    where = candidate.protocol, candidate.protocol_digest
    for member in members:
        path = embeddings.file_of(store, *where, member.attempt_id)
        query_side, gallery = embeddings.read(embeddings.Source(path), None, embeddings.Names())
        name = f"run {member.run_key} (fold {member.fold})"
        queries[name] = query_side
        if gallery is not None:
            galleries[name] = gallery
    if len(galleries) not in {0, len(queries)}:
        bare = next(name for name in queries if name not in galleries)
        raise HarnessError(f"{bare} has no gallery, other folds have one")
    return concatenate(queries), concatenate(galleries) if galleries else None


def _listed(folds: Sequence[int]) -> str:
    return ", ".join(map(str, folds))
