"""The views an analyst sees: their SQL and their documentation.

Aggregates name the order of their input, because a plain `avg` over several files changes in
the last bits from one execution to the next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from harness.store import ensembles, inference, published, searches
from harness.store.schema import TABLES, TIME

HEADLINES = ("map_at_r", "r_precision", "precision_at_1")  # columns of `results`, rows or not

VIEW_DOCS: Mapping[str, str] = {
    "runs": "Runs that count: of each run key and copy of the data, the attempt that was first to "
    "end well.",
    "results": "`runs`, and a column for each metric of the selected epoch; rehearsals and runs "
    "that deviate from their protocol are in it, `WHERE leaderboard_eligible` leaves them out.",
    "leaderboard": "Mean of each metric over seeds, by protocol, data and method; folds of one "
    "seed are averaged first. Only runs without deviations that are no rehearsal.",
    **inference.DOCS,
    **searches.DOCS,
    "ensembles": ensembles.DOC,
    "published": published.DOC,
    "metrics": "Values of the runs that count, one row for each part, epoch and metric.",
    "epochs": "Training curves of the runs that count.",
    "queries": "Outcome of each test query of the runs that count.",
    "attempts": "Everything that was tried, whatever became of it.",
    "failures": "Attempts that failed or were interrupted.",
    "all_metrics": "`metrics` of every attempt.",
    "all_epochs": "`epochs` of every attempt.",
    "all_queries": "`queries` of every attempt.",
    "all_ensembles": "Ensembles as they were computed; of one method and seed, older ones too.",
}

SOURCES: Mapping[str, str] = {  # views over the files of a table, and which
    "attempts": "runs",
    "all_metrics": "metrics",
    "all_epochs": "epochs",
    "all_queries": "queries",
    "all_ensembles": "ensembles",
}

_BUILT_ON: Mapping[str, tuple[str, ...]] = {
    "runs": ("attempts",),
    "failures": ("attempts", "runs"),
    "metrics": ("attempts", "runs", "all_metrics"),
    "epochs": ("attempts", "runs", "all_epochs"),
    "queries": ("attempts", "runs", "all_queries"),
    "results": ("attempts", "runs", "all_metrics"),
    "scores": ("attempts", "runs", "all_metrics"),
    "leaderboard": ("attempts", "runs", "all_metrics", "scores"),
    "comparisons": ("attempts", "runs", "all_metrics", "scores"),
    "equal_compute": ("attempts", "runs", "all_metrics", "all_epochs"),
    "ensembles": ("attempts", "runs", "all_metrics", "all_ensembles"),
    "trials": ("attempts", "all_metrics"),
    "searches": ("attempts", "all_metrics", "trials"),
    "published": (),
}

_RUNS = """
    SELECT * FROM attempts WHERE status = 'ok'
    QUALIFY row_number() OVER (PARTITION BY run_key, data_digest ORDER BY ended_at, attempt_id) = 1
"""

_FAILURES = """
    SELECT *, run_key IN (SELECT run_key FROM runs) AS recovered
    FROM attempts WHERE status <> 'ok'
"""

_LEADERBOARD = """
    WITH seeds AS (
        SELECT protocol, protocol_digest, data_digest, dataset, method, metric, metric_version,
            seed, avg(value ORDER BY fold) AS value, count(*) AS num_folds
        FROM scores GROUP BY ALL
    ), methods AS (
        SELECT * EXCLUDE (seed, value, num_folds), avg(value ORDER BY seed) AS mean,
            stddev_samp(value ORDER BY seed) AS std, count(*) AS num_seeds,
            min(num_folds) AS num_folds
        FROM seeds GROUP BY ALL
    )
    SELECT *, std / sqrt(num_seeds)
        * list_extract(getvariable('t_quantiles'), num_seeds - 1) AS half_width
    FROM methods
"""

_COUNTED = "SELECT rows.* FROM all_{0} AS rows SEMI JOIN runs USING (attempt_id)"

_BODIES: Mapping[str, str] = {
    "runs": _RUNS,
    "failures": _FAILURES,
    "leaderboard": _LEADERBOARD,
    "scores": inference.SCORES,
    "comparisons": inference.COMPARISONS,
    "equal_compute": inference.EQUAL_COMPUTE,
    "trials": searches.TRIALS,
    "searches": searches.SEARCHES,
    "ensembles": ensembles.ENSEMBLES,
    **{name: _COUNTED.format(name) for name in ("metrics", "epochs", "queries")},
}


class Metric(NamedTuple):
    """A sort of value that `results` gives a column.

    Attributes:
        prefix: Empty for the test part, `train_`, `val_`, `untrained_` or `oracle_`.
        name: Of the metric.
    """

    prefix: str
    name: str

    @property
    def column(self) -> str:
        """Name in `results`; a metric that is called like a column of `runs` gives way."""
        name = f"{self.prefix}{self.name}"
        return f"metric_{name}" if name in TABLES["runs"] else name


_VALUES: Mapping[str, tuple[str, str]] = {  # prefix -> (which rows, what they mean)
    "": ("part = 'test' AND selected", "of the test part"),
    "val_": ("part = 'val' AND selected", "of the validation part"),
    "train_": ("part = 'train' AND selected", "of the training part"),
    "untrained_": ("part = 'test' AND epoch = 0", "of the test part, before any training"),
    "oracle_": (
        "part = 'test' AND epoch > 0",
        "of the test part at its best epoch, which nobody can know without the test labels",
    ),
}


def views_behind(names: Iterable[str]) -> tuple[str, ...]:
    """Return the named views with all they are built on, in an order that can be created.

    Where no view is named (`SHOW TABLES`), that is every view.
    """
    named = set(names) & set(VIEW_DOCS) or set(VIEW_DOCS)
    wanted = named | {below for name in named for below in _BUILT_ON.get(name, ())}
    return tuple(name for name in (*SOURCES, *_BUILT_ON) if name in wanted)


def create_statement(view: str, *, found: Collection[str], metrics: Sequence[Metric]) -> str:
    """Return the statement that creates a view.

    Args:
        view: Its name.
        found: Tables that have files; the list of them is in the variable `<table>_files`.
        metrics: What `results` shows.
    """
    if view in SOURCES:
        body = _source(SOURCES[view], found=SOURCES[view] in found)
    elif view == "published":
        body = published.published_select()
    elif view == "results":
        body = _results(metrics)
    else:
        body = _BODIES[view]
    return f"CREATE VIEW {view} AS {body}"


def _source(table: str, *, found: bool) -> str:
    """Return the rows of a table's files with declared types, whatever the files say."""
    columns = {name: sql_type(column.type) for name, column in TABLES[table].items()}
    if found:
        schema = ", ".join(
            f"'{name}': {{name: '{name}', type: '{type_}', default_value: NULL}}"
            for name, type_ in columns.items()
        )
        rows = f"read_parquet(getvariable('{table}_files'), schema = MAP {{{schema}}})"
    else:
        nulls = ", ".join(f'NULL::{type_} AS "{name}"' for name, type_ in columns.items())
        rows = f"(SELECT {nulls} WHERE false)"
    times = [name for name, column in TABLES[table].items() if column.type == TIME]
    # Plain timestamps, in UTC: they print the same in every time zone.
    replaced = ", ".join(f"{name} AT TIME ZONE 'UTC' AS {name}" for name in times)
    replace = f"REPLACE ({replaced})" if replaced else ""
    return f"SELECT * {replace} FROM {rows}"  # noqa: S608 - our own names


def _results(metrics: Sequence[Metric]) -> str:
    values = ", ".join(
        f"{_value(metric)} AS {quoted(metric.column)}" for metric in dict.fromkeys(metrics)
    )
    wide = f"SELECT attempt_id, {values} FROM all_metrics GROUP BY attempt_id"  # noqa: S608
    return f"SELECT * FROM runs LEFT JOIN ({wide}) USING (attempt_id)"  # noqa: S608


def _value(metric: Metric) -> str:
    rows, _ = _VALUES[metric.prefix]
    literal = metric.name.replace("'", "''")
    where = f"FILTER (name = '{literal}' AND {rows})"
    if metric.prefix != "oracle_":
        return f"max(value) {where}"  # one row at most
    best = f"if(any_value(higher_is_better) {where}, max(value) {where}, min(value) {where})"
    return f"if(count(*) {where} > 1, {best}, NULL)"  # tested once: nothing was picked


def sql_type(type_: pa.DataType) -> str:
    """Return DuckDB's name of a Parquet column type."""
    if pa.types.is_list(type_):
        return f"{sql_type(type_.value_type)}[]"
    if pa.types.is_struct(type_):
        fields = ", ".join(f"{quoted(field.name)} {sql_type(field.type)}" for field in type_)
        return f"STRUCT({fields})"
    return {
        pa.string(): "VARCHAR",
        pa.int64(): "BIGINT",
        pa.float64(): "DOUBLE",
        pa.float32(): "FLOAT",
        pa.bool_(): "BOOLEAN",
        TIME: "TIMESTAMPTZ",
    }[type_]


def quoted(name: str) -> str:
    """Return an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


_DERIVED_DOCS: Mapping[str, str] = {
    **inference.COLUMN_DOCS,
    **searches.COLUMN_DOCS,
    "recovered": "Another attempt at the same run ended well.",
    "metric": "Name of the metric.",
    "metric_version": "Version of its definition.",
    "mean": "Over seeds, each the mean of its folds.",
    "std": "Sample standard deviation over seeds; NULL for one seed.",
    "num_seeds": "Seeds with a value.",
    "num_folds": "Folds of the seed that has fewest.",
    "half_width": "Half of the 95% Student-t interval over seeds; NULL for one seed.",
}


def column_doc(view: str, column: str) -> str:
    """Return what a column of a view means; empty if nobody said."""
    if view == "published" and column in published.COLUMN_DOCS:
        return published.COLUMN_DOCS[column]
    if view == "ensembles" and column in ensembles.COLUMN_DOCS:
        return ensembles.COLUMN_DOCS[column]
    table = next((table for table in TABLES if table in view), "runs")
    if column in TABLES[table]:
        return TABLES[table][column].doc
    if view != "results":
        return _DERIVED_DOCS.get(column, "")
    prefix = next((prefix for prefix in _VALUES if prefix and column.startswith(prefix)), "")
    return f"`{column.removeprefix(prefix)}` {_VALUES[prefix][1]}; NULL if not measured."
