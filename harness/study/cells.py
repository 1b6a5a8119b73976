"""Study x registry -> the work list: one cell per run, in an order that never changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from harness.errors import HarnessError
from harness.plan import Request, Run, make_plan
from harness.plan.method import KINDS
from harness.protocol import Protocol
from harness.registry import Registry
from harness.study.document import Method, Study


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a work list, and what another process needs to plan the same run.

    Attributes:
        method: What the study calls the method.
        protocol: As its file has it.
        request: For this fold and seed only.
        run: What they come to.
    """

    method: str
    protocol: Protocol
    request: Request
    run: Run

    @property
    def is_trial(self) -> bool:
        """Tell whether it is a trial of a search, which may fail and say something by it."""
        return self.run.tuning is not None and self.run.tuning.trial is not None


def cells_of(
    study: Study, registry: Registry, protocols: Iterable[Protocol], *, smoke: bool = False
) -> tuple[Cell, ...]:
    """Return every run of a study: by protocol, then seed, then fold, then method.

    Methods take turns, so that a study which is cut short compares what it has.

    Raises:
        HarnessError: A method does not fit a protocol.
    """
    cells: list[Cell] = []
    for protocol in protocols:
        lists = [
            method_cells(method.name, protocol, study.request(method, smoke=smoke), registry)
            for method in study.methods
        ]
        cells += [cell for turn in zip(*lists, strict=True) for cell in turn]
    return tuple(cells)


def method_cells(
    name: str, protocol: Protocol, request: Request, registry: Registry
) -> list[Cell]:
    """Return the runs of one method under one protocol.

    Raises:
        HarnessError: It does not fit; the message begins with its name.
    """
    try:
        runs = make_plan(protocol, registry, request)
    except HarnessError as error:
        who = f"method {name}: " if name else ""
        raise HarnessError(f"{who}{error.message}", hint=error.hint) from error
    return [
        Cell(name, protocol, replace(request, folds=(run.fold,), seeds=(run.seed,)), run)
        for run in runs
    ]


def methods_from(plugins: Sequence[str], registry: Registry) -> tuple[tuple[str, ...], ...]:
    """Divide the words of `--plugin` into methods: each loss begins one.

    What is named before the first loss belongs to every method; what follows a loss belongs to
    it. With one loss, or none, all words are one method.
    """
    losses = [index for index, name in enumerate(plugins) if _is_loss(name, registry)]
    if len(losses) <= 1:
        return (tuple(plugins),)
    shared = tuple(plugins[: losses[0]])
    ends = [*losses[1:], len(plugins)]
    return tuple((*shared, *plugins[start:end]) for start, end in zip(losses, ends, strict=True))


def _is_loss(name: str, registry: Registry) -> bool:
    """Return whether a name means a loss and nothing else."""
    return {entry.kind for entry in registry.matching(name, KINDS)} == {"loss"}


def study_from(name: str, protocol: str, request: Request, registry: Registry) -> Study:
    """Return the study that a command line describes.

    Raises:
        HarnessError: No component and no recipe is named.
    """
    from harness.plan.assignments import parse_assignments, short_path

    def values(texts: Sequence[str], option: str) -> dict[str, object]:
        parsed = parse_assignments(texts, option=option)
        return {short_path(path): value for path, value in parsed.items()}

    methods = tuple(
        Method(
            name="+".join(plugins) or request.recipe or "",
            plugins=plugins,
            params=values(request.settings, "--set"),
            deviations=values(request.deviations, "--deviate"),
            recipe=request.recipe,
        )
        for plugins in methods_from(request.plugins, registry)
    )
    return Study(
        name=name,
        summary=f"{', '.join(method.name for method in methods)} under {protocol}.",
        protocols=(protocol,),
        methods=methods,
        seeds=request.seeds,
        folds=request.folds,
    )


def refuse_doubles(cells: Iterable[Cell]) -> None:
    """Check that no two cells are one run.

    Raises:
        HarnessError: Two are; the message names their methods.
    """
    names: dict[str, str] = {}
    for cell in cells:
        key = cell.run.key
        if key in names:
            raise HarnessError(
                f"methods {names[key]} and {cell.method} are the same run under "
                f"{cell.protocol.name}",
                hint="remove one of them, or give it other values",
            )
        names[key] = cell.method
