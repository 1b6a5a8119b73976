"""The trials of a search, as the rows of the store have them; there is no other record."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.documents import parse_value
from harness.plan.assignments import show
from harness.search.space import Dimension, Space
from harness.search.trials import Trial

if TYPE_CHECKING:
    from harness.store.writer import Store

Repeat = tuple[int, int]  # fold and seed

# First success, else first failure; what was interrupted is still to be done.
_ROWS = """
    WITH tried AS (
        SELECT *, first_value(settings) OVER (PARTITION BY trial ORDER BY attempt_id) AS first
        FROM attempts WHERE search = '{search}' AND trial IS NOT NULL
    ), outcomes AS (
        SELECT * FROM tried WHERE settings = first
        QUALIFY row_number() OVER (PARTITION BY trial, fold, seed
            ORDER BY status <> 'ok', status <> 'failed', attempt_id) = 1
    )
    SELECT trial, fold, seed, status, settings, value
    FROM outcomes LEFT JOIN all_metrics ON outcomes.attempt_id = all_metrics.attempt_id
        AND part = 'val' AND selected AND name = search_metric
    ORDER BY trial, fold, seed
"""


class _Row(NamedTuple):
    trial: int
    fold: int
    seed: int
    status: str
    settings: str
    value: float | None


def read_trials(
    store: Store | None, search: str, *, space: Space, repeats: Collection[Repeat]
) -> dict[int, Trial]:
    """Return the trials of a search that have a row, by number.

    Where two processes did the same trial with different values, against all odds, the rows of
    the one that began first count.

    Args:
        store: To read; None where there is none yet.
        search: Its id.
        space: Its paths; values are read for these.
        repeats: The folds and seeds that a trial consists of.
    """
    if store is None:
        return {}
    from harness.store.database import query

    grouped: dict[int, list[_Row]] = {}
    for values in query(store, _ROWS.format(search=search)).rows:
        row = _Row(*values)  # pyright: ignore[reportArgumentType] - as selected
        grouped.setdefault(row.trial, []).append(row)
    return {
        number: _trial(number, rows, space, frozenset(repeats)) for number, rows in grouped.items()
    }


def _trial(number: int, rows: list[_Row], space: Space, repeats: frozenset[Repeat]) -> Trial:
    ended = {(r.fold, r.seed) for r in rows if r.status in {"ok", "failed"}} & repeats
    values = [r.value for r in rows if (r.fold, r.seed) in repeats and r.value is not None]
    whole = len(values) == len(repeats) == len(ended)
    return Trial(
        number=number,
        values=_values(rows[0].settings, space),
        objective=sum(values) / len(values) if whole else None,
        ended=frozenset(ended),
    )


def _values(settings: str, space: Space) -> dict[str, Any]:
    """Return what a row says of the paths of a space; nothing, for the values at the start."""
    texts: dict[str, str] = json.loads(settings)
    return {path: _read(texts[path], space[path]) for path in space if path in texts}


def _read(text: str, dimension: Dimension) -> object:
    if dimension.choices is not None:
        return next((each for each in dimension.choices if show(each) == text), text)
    return parse_value(text, source="a trial")
