"""What became of each run, with its value of one metric: the raw material of a leaderboard.

All that looks at single runs is SQL: a store may hold a hundred thousand of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from harness.errors import HarnessError, did_you_mean
from harness.store.database import arrow, query
from harness.store.writer import Store

# Of each run its first success with each copy of the data, or its last failure, with its values.
_OUTCOMES = """
    WITH tried AS (
        SELECT *, coalesce({metric}, headline_metric) AS metric FROM attempts
        WHERE status = 'ok' OR run_key NOT IN (SELECT run_key FROM attempts WHERE status = 'ok')
        QUALIFY row_number() OVER (
            PARTITION BY run_key, if(status = 'ok', data_digest, NULL)
            ORDER BY if(status = 'ok', ended_at, NULL), ended_at DESC, attempt_id
        ) = 1
    ), found AS (
        SELECT attempt_id, name AS metric, any_value(version) AS metric_version,
            any_value(higher_is_better) AS higher_is_better,
            max(value) FILTER (selected) AS value,
            max(value) FILTER (epoch = 0) AS untrained,
            count(*) FILTER (epoch > 0) AS num_tested,
            max(value) FILTER (epoch > 0) AS largest, min(value) FILTER (epoch > 0) AS smallest
        FROM all_metrics WHERE part = 'test' AND name IN (SELECT DISTINCT metric FROM tried)
        GROUP BY attempt_id, name
    ), costs AS (
        SELECT search, sum(wall_seconds ORDER BY attempt_id) AS search_seconds
        FROM attempts WHERE trial IS NOT NULL GROUP BY search
    )
    SELECT protocol, protocol_version, protocol_digest, data_digest, dataset, tried.metric,
        metric_version, higher_is_better,
        concat(method, if(smoke, ' [smoke]', ''), if(len(deviations) > 0, ' [deviates]', ''))
            AS method,
        CASE WHEN trial IS NOT NULL THEN 'trials of a search'
            WHEN smoke THEN {smoke}
            WHEN len(deviations) > 0 THEN {deviations}
            WHEN status = 'ok' AND NOT leaderboard_eligible THEN 'not eligible'
            ELSE '' END AS reason,
        loss, miner, backbone, attempt_id, run_key, ended_at, device,
        seed, fold, status = 'ok' AS ok, epoch_us(ended_at) AS ended, value, untrained,
        if(num_tested > 1, if(higher_is_better, largest, smallest), NULL) AS oracle,
        wall_seconds, train_seconds, eval_seconds, images_per_second, peak_memory_mib,
        num_trials, search_seconds
    FROM tried LEFT JOIN found USING (attempt_id, metric) LEFT JOIN costs USING (search)
"""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Runs of one method, in columns.

    Attributes:
        table: One row for each run.
    """

    table: pa.Table

    def __len__(self) -> int:
        """Return the number of runs."""
        return self.table.num_rows

    def numbers(self, column: str) -> NDArray[np.float64]:
        """Return a column, NaN where nothing was measured."""
        return self.table[column].cast(pa.float64()).to_numpy(zero_copy_only=False)

    def texts(self, column: str) -> list[str]:
        """Return a column of text."""
        return self.table[column].to_pylist()

    def text(self, column: str) -> str | None:
        """Return what all runs have in common."""
        smallest = pc.min  # pyright: ignore[reportAttributeAccessIssue] - made when imported
        return smallest(self.table[column]).as_py()

    def of(self, chosen: NDArray[Any]) -> Outcomes:
        """Return some of the runs: a mask, or indices."""
        return Outcomes(self.table.take(pa.array(np.arange(len(self))[chosen])))


class Kind(NamedTuple):
    """What runs have in common that are counted together.

    Attributes:
        metric_version: None without a value.
        higher_is_better: The same.
        method: With marks where runs are not what the name alone promises.
        reason: Why they must not stand on a board; empty if they may.
    """

    protocol: str
    protocol_version: int
    protocol_digest: str
    data_digest: str | None
    dataset: str
    metric: str
    metric_version: int | None
    higher_is_better: bool | None
    method: str
    reason: str


def outcomes(
    store: Store, *, metric: str | None = None, deviations: bool = False, smoke: bool = False
) -> dict[Kind, Outcomes]:
    """Return what became of each run, by what runs have in common.

    Args:
        store: To read.
        metric: Whose values to return; None takes the first of each protocol.
        deviations: Runs that break their protocol may stand on a board.
        smoke: Rehearsals may.

    Raises:
        HarnessError: There is no run.
    """
    statement = _OUTCOMES.format(
        metric=literal(metric),
        smoke=literal("" if smoke else "rehearsals (--smoke)"),
        deviations=literal("" if deviations else "deviations from the protocol"),
    )
    found = arrow(store, statement).combine_chunks()
    if not found.num_rows:
        raise HarnessError(f"no runs in {store.root}", hint="harness run PROTOCOL --plugin NAME")
    numbered = found.append_column("row", pa.array(np.arange(found.num_rows)))
    kinds = numbered.group_by(list(Kind._fields), use_threads=False).aggregate([("row", "list")])
    rows = kinds["row_list"].to_pylist()
    columns = (kinds[name].to_pylist() for name in Kind._fields)
    keys = [Kind(*values) for values in zip(*columns, strict=True)]
    runs = found.drop_columns(list(Kind._fields))
    return {key: Outcomes(runs.take(pa.array(of))) for key, of in zip(keys, rows, strict=True)}


def unknown_metric(store: Store, metric: str) -> HarnessError:
    """Return an error that suggests what was meant."""
    known = query(store, "SELECT DISTINCT name FROM all_metrics WHERE part = 'test'").rows
    names = sorted(str(name) for (name,) in known)
    hint = did_you_mean(metric, names) or f"measured were {', '.join(names) or 'none'}"
    return HarnessError(f"no run has metric {metric!r}", hint=hint)


def check_protocol(name: str, known: Sequence[str]) -> None:
    """Raise a HarnessError that suggests what was meant, unless there are runs of a protocol."""
    if name not in known:
        hint = did_you_mean(name, known) or f"there are runs of {', '.join(known) or 'none'}"
        raise HarnessError(f"no runs of protocol {name!r}", hint=hint)


def literal(text: str | None) -> str:
    """Return an SQL string, or NULL."""
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"
