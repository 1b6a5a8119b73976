"""What goes into a plan and what comes out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.protocol import Protocol
from harness.registry import Origin
from harness.specs import ComponentSpec, Kind, Params


@dataclass(frozen=True, slots=True)
class Tuning:
    """What a run has to do with a search; part of its key.

    Such a run never stands for one without a search, nor the other way round, whatever its
    values are: what was picked by its validation value is no fresh repeat.

    Attributes:
        search: Id of the search.
        method: What is tuned, as the study calls it.
        metric: Compared on the validation part.
        trial: Number of a trial, from 0; None for a run with the values that were found.
        num_trials: Trials that these values were picked from; None for a trial.
    """

    search: str
    method: str
    metric: str
    trial: int | None = None
    num_trials: int | None = None

    @property
    def label(self) -> str:
        """Name of the run's method: no trial is called like a method, no tuned one like another.

        >>> Tuning("5ea2c4", "hist", "map_at_r", trial=3).label
        'hist[trial 3]'
        """
        return f"{self.method}[{'tuned' if self.trial is None else f'trial {self.trial}'}]"


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asks to run under a protocol.

    Attributes:
        plugins: Components by name (`hist`, `miner:multi_similarity`, `dist:name`).
        settings: `path=value` for open fields and parameters; values are YAML.
        deviations: `path=value` for fields that the protocol fixes.
        recipe: Published values to start from.
        folds: Which folds; None means the protocol's.
        seeds: Which seeds; None means the protocol's.
        smoke: A rehearsal with a tiny budget.
        tuning: The search that the runs belong to.
    """

    plugins: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()
    recipe: str | None = None
    folds: tuple[int, ...] | None = None
    seeds: tuple[int, ...] | None = None
    smoke: bool = False
    tuning: Tuning | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """A component picked for a run.

    Attributes:
        card: What the plugin registered.
        origin: Which distribution it came from.
        params: Resolved and checked.
    """

    card: ComponentSpec
    origin: Origin
    params: Params


@dataclass(frozen=True, slots=True)
class Run:
    """One training and evaluation, fully determined.

    Attributes:
        key: Hash of everything that determines the result.
        protocol: With the method's values in its open fields.
        written: The protocol as its file has it, before the method's values.
        protocol_digest: Of `written`.
        method: Label of what is compared: component names and every value that is not a default.
        loss, miner, sampler, backbone, dataset: The chosen components; miner may be None.
        metrics: By the name that the protocol gives them (`recall_at_10`); the metric of the
            selection comes last when the protocol does not report it.
        diagnostics: Metrics measured on the train and test parts at each evaluation, by name; part
            of the key, so that a run without them does not stand for one with them, and of no
            other hash.
        fold, seed: Which repeat.
        deviations: `path=value` of what breaks the protocol, sorted.
        smoke: A rehearsal: tiny budget, never on a leaderboard.
        settings: The user's own `--set` and recipe values, dotted path to value, sorted.
        recipe: Name of the recipe the method starts from; None without one.
        method_key: As `key`, without fold and seed: equal for the repeats of one method.
        pair_key: Hash of protocol digest, fold and seed: equal for two methods' paired runs.
        tuning: The search it belongs to.
    """

    key: str
    protocol: Protocol
    written: Protocol
    protocol_digest: str
    method: str
    loss: Chosen
    miner: Chosen | None
    sampler: Chosen
    backbone: Chosen
    dataset: Chosen
    metrics: tuple[tuple[str, Chosen], ...]
    fold: int
    seed: int
    deviations: tuple[str, ...] = ()
    smoke: bool = False
    settings: tuple[tuple[str, str], ...] = ()
    recipe: str | None = None
    method_key: str = ""
    pair_key: str = ""
    diagnostics: tuple[tuple[str, Chosen], ...] = ()
    tuning: Tuning | None = None

    @property
    def measured(self) -> dict[str, Chosen]:
        """Everything a part of the data may be scored by, by name."""
        return dict((*self.metrics, *self.diagnostics))

    @property
    def components(self) -> tuple[tuple[Kind, Chosen], ...]:
        """The components by kind, without metrics and an absent miner."""
        return tuple(_present(self))


def _present(run: Run) -> Iterator[tuple[Kind, Chosen]]:
    for chosen in (run.loss, run.miner, run.sampler, run.backbone, run.dataset):
        if chosen is not None:
            yield chosen.card.kind, chosen
