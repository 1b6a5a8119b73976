"""The work of a study: runs that are known from the start, and those that a search asks for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from harness.plan.making import repeats
from harness.protocol import Protocol, digest
from harness.registry import Registry
from harness.study.cells import Cell, cells_of, refuse_doubles
from harness.study.document import Study
from harness.study.tuning import Step, Tuned, next_step, tuned_of

if TYPE_CHECKING:
    from harness.store.writer import Store


@dataclass(frozen=True, slots=True)
class Work:
    """What a study comes to.

    Attributes:
        cells: Runs of methods that are not tuned.
        tuned: Methods that are, each under one protocol.
        untuned: Names of methods with nothing to search, in a study that has a search.
        save_embeddings: Keep the test embeddings of the runs.
        ensembles: Score the models of all folds of a seed as one in the end.
    """

    cells: tuple[Cell, ...]
    tuned: tuple[Tuned, ...] = ()
    untuned: tuple[str, ...] = ()
    save_embeddings: bool = False
    ensembles: bool = False

    @property
    def protocol_digests(self) -> frozenset[str]:
        """Protocols that the work is done under."""
        tuned = {digest(each.protocol) for each in self.tuned}
        return frozenset({cell.run.protocol_digest for cell in self.cells} | tuned)

    @property
    def num_cells(self) -> int:
        """Runs, once every trial has been asked for."""
        return len(self.cells) + sum(each.num_cells for each in self.tuned)

    def planned(self) -> dict[str, dict[str, frozenset[tuple[int, int]]]]:
        """Return seed and fold of each run that counts, by protocol digest and method.

        Trials are left out: they end in a method's values, not in its score.
        """
        found: dict[str, dict[str, set[tuple[int, int]]]] = {}
        for cell in self.cells:
            methods = found.setdefault(cell.run.protocol_digest, {})
            methods.setdefault(cell.run.method, set()).add((cell.run.seed, cell.run.fold))
        for each in self.tuned:
            finals = repeats(each.protocol, each.request)
            methods = found.setdefault(digest(each.protocol), {})
            methods[each.label] = {(seed, fold) for fold, seed in finals}
        return {
            protocol: {method: frozenset(cells) for method, cells in methods.items()}
            for protocol, methods in found.items()
        }

    def shard(self, *, index: int, count: int) -> Work:
        """Return every `count`-th part from `index` on.

        A part is a run; in a study with a search it is a method under a protocol, because a
        trial waits for those before it.
        """
        if not self.tuned:
            return replace(self, cells=self.cells[index::count])
        whole = dict.fromkeys((cell.protocol.name, cell.method) for cell in self.cells)
        parts = [*((t.protocol.name, t.method) for t in self.tuned), *whole]
        mine = set(parts[index::count])
        return replace(
            self,
            cells=tuple(c for c in self.cells if (c.protocol.name, c.method) in mine),
            tuned=tuple(each for each in self.tuned if (each.protocol.name, each.method) in mine),
        )


def work_of(
    study: Study, registry: Registry, protocols: Iterable[Protocol], *, smoke: bool = False
) -> Work:
    """Return what a study comes to; its runs in the order of `cells_of`.

    Raises:
        HarnessError: A method does not fit a protocol, two methods are one, or a search cannot
            be done as it is written.
    """
    protocols = tuple(protocols)
    cells = cells_of(study, registry, protocols, smoke=smoke)
    work = Work(
        cells,
        save_embeddings=study.save_embeddings or study.ensembles,
        ensembles=study.ensembles,
    )
    if study.search is None:
        refuse_doubles(cells)
        return work
    found = {
        (protocol.name, method.name): tuned_of(study, method, protocol, registry, smoke=smoke)
        for protocol in protocols
        for method in study.methods
    }
    cells = tuple(cell for cell in cells if found[cell.protocol.name, cell.method] is None)
    refuse_doubles(cells)  # tuned methods are told apart by their searches
    return replace(
        work,
        cells=cells,
        tuned=tuple(tuned for tuned in found.values() if tuned is not None),
        untuned=tuple(
            dict.fromkeys(method for (_, method), tuned in found.items() if tuned is None)
        ),
    )


@dataclass(slots=True)
class Searches:
    """What the searches of a work list ask for, one trial of each method at a time.

    Attributes:
        tuned: The searches.
        registry: Of plugins.
        store: Whose rows say how far each is.
        num_ended: Runs of trials that others have done: before the work began, or meanwhile.
        num_refused: Runs of trials that could not be planned, since the work began.
        skipped: Runs that cannot be done, each with the reason: final runs of a method none of
            whose trials has a value, trials that end again and again without leaving a row.
    """

    tuned: Sequence[Tuned]
    registry: Registry
    store: Store
    num_ended: int = 0
    num_refused: int = 0
    skipped: list[tuple[Cell, str]] = field(default_factory=list[tuple[Cell, str]])
    _open: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    _asked: set[str] = field(default_factory=set[str])
    _counted: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])

    @property
    def num_cells(self) -> int:
        """Runs of all trials and final runs."""
        return sum(each.num_cells for each in self.tuned)

    def begin(self) -> list[Cell]:
        """Return what may be done at once: the next runs of each search."""
        found: list[Cell] = []
        for tuned in self.tuned:
            found += self._go_on(tuned)
        self.num_ended += self.num_refused
        self.num_refused = 0
        return found

    def after(self, cell: Cell) -> list[Cell]:
        """Return what may be done because a run has ended, well or not."""
        tuning = cell.run.tuning
        if tuning is None or tuning.trial is None:
            return []
        waiting = self._open[tuning.search]
        waiting.discard(cell.run.key)
        if waiting:
            return []
        (tuned,) = (each for each in self.tuned if each.search == tuning.search)
        return self._go_on(tuned)

    def _go_on(self, tuned: Tuned) -> list[Cell]:
        step = next_step(tuned, self.registry, self.store)
        self._count(tuned, step)
        keys = {cell.run.key for cell in step.cells}
        if step.over and step.best is None:
            return self._give_up(step, "no trial of its search has a value")
        if keys & self._asked:
            return self._give_up(step, "it ended before and left no row")
        self._asked |= keys
        self._open[tuned.search] = set() if step.over else set(keys)
        return list(step.cells)

    def _count(self, tuned: Tuned, step: Step) -> None:
        """Count, once for each trial, the runs that this work list has not asked for."""
        repeats = len(tuned.repeats)
        for trial in step.trials:
            if (tuned.search, trial.number) not in self._counted:
                self._counted.add((tuned.search, trial.number))
                self.num_ended += repeats if trial.ended else 0
                self.num_refused += 0 if trial.ended else repeats
        current = (tuned.search, len(step.trials))
        if not step.over and current not in self._counted:
            self._counted.add(current)
            self.num_ended += repeats - len(step.cells)

    def _give_up(self, step: Step, reason: str) -> list[Cell]:
        self.skipped += [(cell, reason) for cell in step.cells]
        return []
