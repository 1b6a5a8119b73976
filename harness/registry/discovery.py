"""Installed distributions -> the registry: the only place where plugins' code is imported.

pluggy's own entry-point loader drops a second plugin of the same name, lets one broken import stop
every command and says nothing about a misspelt hook; hence this walk over the metadata. Each
plugin is loaded, checked and asked in a manager of its own, so a broken one costs nobody anything.
"""

from __future__ import annotations

import re
import time
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from harness import hookspecs
from harness.errors import HarnessError, did_you_mean
from harness.hookspecs import GROUP
from harness.registry.lookup import Entry, Origin, PluginReport, Registry
from harness.specs import SPEC_OF_KIND, ComponentSpec, Kind, Params, ReplaySpec

CORE = "dml-harness"  # our own cards; no selection of plugins leaves them out

KIND_OF_HOOK: dict[str, Kind] = {
    "harness_losses": "loss",
    "harness_miners": "miner",
    "harness_samplers": "sampler",
    "harness_backbones": "backbone",
    "harness_datasets": "dataset",
    "harness_metrics": "metric",
    "harness_backends": "backend",
    "harness_recipes": "recipe",
    "harness_replays": "replay",
}
"""A test keeps this equal to `hookspecs`."""


def discover(*, only: Sequence[str] | None = None) -> Registry:
    """Load every installed plugin and return what they registered.

    Args:
        only: Entry points or distributions to load, next to the core's own; None loads all, an
            empty sequence none.

    Raises:
        HarnessError: `only` names a plugin that is not installed.
    """
    found = sorted(
        ((_origin(point), point) for point in entry_points(group=GROUP)),
        key=lambda pair: str(pair[0]),
    )
    if only is not None:
        found = _selected(found, only)
    return collect([(origin, point.load) for origin, point in found])


def collect(plugins: Iterable[tuple[Origin, Callable[[], object]]]) -> Registry:
    """Load the given plugins, each by its own function, and return what they registered."""
    reports: list[PluginReport] = []
    entries: list[Entry] = []
    for origin, load in plugins:
        report, cards = _examine(origin, load)
        reports.append(report)
        entries.extend(Entry(card, origin) for card in cards)
    entries.sort(key=lambda entry: (entry.kind, entry.name, str(entry.origin)))
    return Registry(tuple(reports), tuple(entries))


def _origin(point: EntryPoint) -> Origin:
    distribution = point.dist
    if distribution is None:  # only an entry point made by hand has none
        return Origin("unknown", "0", point.name, point.value)
    return Origin(distribution.name, distribution.version, point.name, point.value)


def _selected(
    found: list[tuple[Origin, EntryPoint]], only: Sequence[str]
) -> list[tuple[Origin, EntryPoint]]:
    names = {name for origin, _ in found for name in (origin.entry_point, origin.distribution)}
    for name in only:
        if name not in names:
            raise HarnessError(
                f"no plugin {name!r} is installed",
                hint=did_you_mean(name, names) or f"installed: {', '.join(sorted(names))}",
            )
    return [
        (origin, point)
        for origin, point in found
        if origin.distribution == CORE or {origin.entry_point, origin.distribution} & set(only)
    ]


def _examine(
    origin: Origin, load: Callable[[], object]
) -> tuple[PluginReport, list[ComponentSpec]]:
    """Load one plugin and return what is right and what is wrong with it."""
    problems: list[str] = []
    traces: list[str] = []
    cards: list[ComponentSpec] = []
    file: str | None = None
    start = time.perf_counter()
    with _kept(problems, traces):
        plugin = load()
        file = getattr(plugin, "__file__", None)
        manager = _manager()
        manager.register(plugin, str(origin))
        problems += _misspelt(manager, plugin)
        problems += _unmarked(manager, plugin)
        for caller in manager.get_hookcallers(plugin) or []:
            if caller.has_spec():
                with _kept(problems, traces):
                    _ask(caller, cards, problems)
    seconds = time.perf_counter() - start
    counts: dict[Kind, int] = dict(Counter(card.kind for card in cards))
    trace = "\n".join(traces) or None
    return PluginReport(origin, counts, tuple(problems), trace, seconds, file), cards


@contextmanager
def _kept(problems: list[str], traces: list[str]) -> Generator[None]:
    """Note whatever a plugin raises, even an exit, and go on."""
    try:
        yield
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the plugin border
        first_line = (str(error).strip().splitlines() or ["no message"])[0]
        problems.append(f"{type(error).__name__}: {first_line}")
        traces.append(traceback.format_exc())


def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    return manager


def _misspelt(manager: pluggy.PluginManager, plugin: object) -> list[str]:
    """Return a problem per hook that does not exist.

    `check_pending` stops at the first and raises; it decides, and the names are listed here.
    """
    try:
        manager.check_pending()
    except pluggy.PluginValidationError:
        callers = manager.get_hookcallers(plugin) or []
        unknown = sorted(caller.name for caller in callers if not caller.has_spec())
    else:
        return []
    return [
        f"unknown hook {name!r}; " + (did_you_mean(name, KIND_OF_HOOK) or "see harness.hookspecs")
        for name in unknown
    ]


def _unmarked(manager: pluggy.PluginManager, plugin: object) -> list[str]:
    """Return a problem per function that is named like a hook but lacks the marker."""
    marked = {caller.name for caller in manager.get_hookcallers(plugin) or []}
    return [
        f"{name} is not marked with @hookimpl"
        for name in KIND_OF_HOOK
        if name not in marked and callable(getattr(plugin, name, None))
    ]


def _ask(caller: pluggy.HookCaller, cards: list[ComponentSpec], problems: list[str]) -> None:
    """Call one hook, keep its good cards and note what is wrong with the others."""
    hook, kind = caller.name, KIND_OF_HOOK[caller.name]
    answers = caller()
    offered = answers[0] if answers else None  # pluggy leaves out an answer that is None
    if isinstance(offered, str | ComponentSpec) or not isinstance(offered, Iterable):
        problems.append(f"{hook} must return a list of cards, returned {type(offered).__name__}")
        return
    for card in offered:
        wrong = _wrong_with(card, kind) or _repeated(card, cards)
        if wrong:
            problems.append(f"{hook}: {wrong}")
        elif isinstance(card, ComponentSpec):
            cards.append(card)


def _wrong_with(card: Any, kind: Kind) -> str:  # noqa: ANN401 - whatever a plugin returns
    """Return what is wrong with a card, or an empty string."""
    expected = SPEC_OF_KIND[kind].__name__
    if not isinstance(card, SPEC_OF_KIND[kind]):
        return f"expected {expected}, got {type(card).__name__}"
    return _wrong_fields(card)


def _wrong_fields(card: Any) -> str:  # noqa: ANN401 - dataclasses do not check their fields
    names = r"[a-z][a-z0-9_.]*" if isinstance(card, ReplaySpec) else r"[a-z][a-z0-9_]*"
    if not isinstance(card.name, str) or not re.fullmatch(names, card.name):
        return f"name {card.name!r} must be lower-case letters, digits and underscores"
    if not (isinstance(card.params, type) and issubclass(card.params, Params)):
        return f"{card.name}: params must be a subclass of Params"
    if not callable(card.build):
        return f"{card.name}: build must be callable"
    return ""


def _repeated(card: object, cards: Sequence[ComponentSpec]) -> str:
    same = [c for c in cards if isinstance(card, type(c)) and c.name == getattr(card, "name", "")]
    return f"{same[0].name} is registered twice" if same else ""
