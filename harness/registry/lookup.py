"""The frozen registry: cards by kind and name, with errors that say what to type."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from harness.documents import Document, validate
from harness.errors import HarnessError, did_you_mean
from harness.specs import SPEC_OF_KIND, ComponentSpec, Kind, Params


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a component comes from.

    Attributes:
        distribution: Installed distribution (`harness-hist`).
        version: Of that distribution.
        entry_point: Name of the entry point (`hist`).
        module: What the entry point imports.
    """

    distribution: str
    version: str
    entry_point: str
    module: str

    def __str__(self) -> str:
        """Return `distribution:entry_point`."""
        return f"{self.distribution}:{self.entry_point}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A registered card with its origin."""

    card: ComponentSpec
    origin: Origin

    @property
    def kind(self) -> Kind:
        """The kind of component."""
        return self.card.kind

    @property
    def name(self) -> str:
        """The short name; two distributions may share one."""
        return self.card.name

    @property
    def qualified(self) -> str:
        """`distribution:name`, which no other distribution can take."""
        return f"{self.origin.distribution}:{self.card.name}"


@dataclass(frozen=True, slots=True)
class PluginReport:
    """What discovery found out about one entry point.

    Attributes:
        origin: Which entry point.
        counts: Number of accepted cards per kind; kinds without any are left out.
        problems: What is wrong, one line each; the accepted cards work all the same.
        traceback: Of the import or hook that failed.
        seconds: Time to import it and to ask it for its cards.
        file: The file that was imported; None when it could not be.
    """

    origin: Origin
    counts: Mapping[Kind, int]
    problems: tuple[str, ...] = ()
    traceback: str | None = None
    seconds: float = 0.0
    file: str | None = None

    @property
    def error(self) -> str | None:
        """All problems in one line, or None."""
        return "; ".join(self.problems) or None


@dataclass(frozen=True, slots=True)
class Registry:
    """Every card of every plugin, by kind and name.

    Attributes:
        plugins: One report per entry point, broken ones included, sorted by origin.
        cards: All accepted cards, sorted by kind, name and origin.
    """

    plugins: tuple[PluginReport, ...]
    cards: tuple[Entry, ...]

    def entries(self, kind: Kind) -> tuple[Entry, ...]:
        """Return the cards of one kind, sorted by name and origin."""
        checked = check_kind(kind)
        return tuple(entry for entry in self.cards if entry.kind == checked)

    def get(self, kind: Kind, name: str) -> Entry:
        """Return the card called `name`, `distribution:name` or `entry_point:name`.

        Raises:
            HarnessError: No card has this name, or several have.
        """
        return self.find(name, (check_kind(kind),))

    def find(self, name: str, kinds: Collection[Kind]) -> Entry:
        """Return the one card called `name` among several kinds.

        `kind:name` and `kind:distribution:name` settle which kind is meant.

        Raises:
            HarnessError: No card has this name, or several have.
        """
        found = self.matching(name, kinds)
        if not found:
            self._refuse_unknown(*_spelt(name, kinds))
        if len(found) > 1:
            _refuse_clash(name, found)
        return found[0]

    def matching(self, name: str, kinds: Collection[Kind]) -> list[Entry]:
        """Return every card that a name may mean; see `find` for how names are spelt."""
        name, kinds = _spelt(name, kinds)
        owner, _, short = name.rpartition(":")
        return [
            entry
            for entry in self.cards
            if entry.kind in kinds and entry.name == short and _owns(entry.origin, owner)
        ]

    def metric(self, name: str) -> tuple[Entry, Params]:
        """Return the metric a protocol calls `name`; `recall_at_10` is `recall_at_k` with k=10.

        Raises:
            HarnessError: There is no such metric, or k is outside its range.
        """
        family = re.fullmatch(r"(.+_at_)(\d{1,9})", name)
        if family and not self.matching(name, ("metric",)):
            stem, k = family.groups()
            if self.matching(f"{stem}k", ("metric",)):
                entry = self.get("metric", f"{stem}k")
                return entry, params(entry, {"k": int(k)})
        entry = self.get("metric", name)
        return entry, params(entry, {})

    def _refuse_unknown(self, name: str, kinds: Collection[Kind]) -> NoReturn:
        short = name.rpartition(":")[2]
        what = next(iter(kinds)) if len(kinds) == 1 else "component"
        message = f"unknown {what} {name!r}"
        near = did_you_mean(short, (entry.name for entry in self.cards if entry.kind in kinds))
        same_name = [entry for entry in self.cards if entry.name == short]
        if near and not same_name:
            raise HarnessError(message, hint=near)
        elsewhere = sorted({f"{entry.kind} of {entry.origin}" for entry in same_name})
        broken = [str(plugin.origin) for plugin in self.plugins if plugin.problems]
        hints = [
            f"{short!r} is a {' and a '.join(elsewhere)}" if elsewhere else "",
            f"plugins with problems: {', '.join(broken)}" if broken else "",
            f"harness show{'' if what == 'component' else f' {what}'} lists what is installed",
        ]
        raise HarnessError(message, hint="; ".join(hint for hint in hints if hint))


def params(entry: Entry, values: Mapping[str, Any]) -> Params:
    """Check parameter values against a card.

    Raises:
        HarnessError: One line per problem, `loss hist: tau: 500 is more than 100`.
    """
    subject = f"{entry.kind} {entry.name}"
    return validate(entry.card.params, Document(subject, dict(values)))


def check_kind(kind: str) -> Kind:
    """Return the kind if there is one of this name.

    Raises:
        HarnessError: There is none.
    """
    if kind not in SPEC_OF_KIND:
        raise HarnessError(
            f"unknown kind {kind!r}",
            hint=did_you_mean(kind, SPEC_OF_KIND) or f"one of {', '.join(SPEC_OF_KIND)}",
        )
    return cast("Kind", kind)


def _spelt(name: str, kinds: Collection[Kind]) -> tuple[str, Collection[Kind]]:
    """Split `kind:` off a name and keep the one kind it leaves."""
    first, _, rest = name.partition(":")
    if not rest or first not in SPEC_OF_KIND:
        return name, kinds
    return rest, [kind for kind in kinds if kind == first]


def _owns(origin: Origin, owner: str) -> bool:
    return owner in {"", origin.entry_point} or _normal(owner) == _normal(origin.distribution)


def _normal(distribution: str) -> str:
    """Spell a distribution as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _refuse_clash(name: str, found: Sequence[Entry]) -> NoReturn:
    """Say which cards share a name, and what to type for each."""
    several_kinds = len({entry.kind for entry in found}) > 1
    several_owners = len({entry.origin.distribution for entry in found}) > 1
    spellings: list[str] = []
    for entry in found:
        owner = entry.origin.distribution if several_owners else entry.origin.entry_point
        same_kind = [other for other in found if other.kind == entry.kind]
        spelling = f"{owner}:{entry.name}" if len(same_kind) > 1 else entry.name
        spellings.append(f"{entry.kind}:{spelling}" if several_kinds else spelling)
    described = " and ".join(f"{entry.kind} of {entry.origin}" for entry in found)
    raise HarnessError(
        f"{name!r} is ambiguous: {described}", hint=f"type {' or '.join(spellings)}"
    )
