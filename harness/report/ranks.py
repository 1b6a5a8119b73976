"""Places of methods whose differences are only partly resolved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from harness.report.pairs import Difference
from harness.report.statistics import holm

ALPHA = 0.05


class Place(NamedTuple):
    """Where a method stands.

    Attributes:
        first: One more than the number of methods shown to be better: the best it may be.
        last: The worst it may be; `first` and `last` agree where everything is resolved.
        ties: Methods from which it is not told apart, in the order given.
    """

    first: int
    last: int
    ties: tuple[str, ...]


def adjusted(differences: Mapping[tuple[str, str], Difference]) -> dict[tuple[str, str], float]:
    """Return the p value of each pair, adjusted by Holm for the number of pairs.

    A pair that shares fewer than two seeds has none; it is no test and costs the others nothing.
    """
    tested = {
        pair: difference.p_value
        for pair, difference in differences.items()
        if difference.p_value is not None
    }
    return dict(zip(tested, holm(list(tested.values())), strict=True))


def places(methods: Sequence[str], better: Iterable[tuple[str, str]]) -> dict[str, Place]:
    """Return the place of each method.

    Better than better is better: if a beats b and b beats c, then a beats c, whatever the test of
    a and c says. Two methods that are not told apart can therefore always hold the same place.

    Args:
        methods: Best mean first.
        better: Pairs that are resolved, the better one first. One that contradicts the order of
            the means is left out: it comes from runs that the other mean does not have.

    >>> places(["a", "b", "c"], [("a", "c")])["b"]
    Place(first=1, last=3, ties=('a', 'c'))
    """
    position = {method: index for index, method in enumerate(methods)}
    below: dict[str, set[str]] = {method: set() for method in methods}
    for winner, loser in better:
        if position[winner] < position[loser]:
            below[winner].add(loser)
    for method in reversed(methods):  # everything below the losers is settled already
        below[method] = below[method].union(*(below[loser] for loser in below[method]))
    above = {method: {other for other in methods if method in below[other]} for method in methods}
    return {
        method: Place(
            first=1 + len(above[method]),
            last=len(methods) - len(below[method]),
            ties=tuple(
                other
                for other in methods
                if other != method and other not in above[method] | below[method]
            ),
        )
        for method in methods
    }
