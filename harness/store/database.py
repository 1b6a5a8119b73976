"""Ask a store in SQL: DuckDB views over its files, and queries that can do nothing but read."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as OutOfTimeError
from dataclasses import dataclass
from pathlib import Path

import duckdb

from harness.errors import HarnessError
from harness.store.inventory import Inventory, reads_well, take_inventory
from harness.store.sandbox import check_selects, readable
from harness.store.views import HEADLINES, VIEW_DOCS, Metric, column_doc, create_statements
from harness.store.writer import Store

logger = logging.getLogger(__name__)

MOST_ROWS = 1_000_000
MOST_SECONDS = 600.0
_MOST_SEEDS = 1_000  # length of the table of t quantiles

_TABLES_OF_VIEW: Mapping[str, tuple[str, ...]] = {
    "metrics": ("metrics",),
    "results": ("metrics",),
    "leaderboard": ("metrics",),
    "epochs": ("epochs",),
    "queries": ("queries",),
    "all_metrics": ("metrics",),
    "all_epochs": ("epochs",),
    "all_queries": ("queries",),
}


_USERS_ERRORS = (
    duckdb.ParserException,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.PermissionException,
    duckdb.ConversionException,
    duckdb.OutOfRangeException,
)


@dataclass(frozen=True, slots=True)
class Table:
    """The answer to a query.

    Attributes:
        columns: Names; one may occur twice.
        rows: Values as Python objects, in the order the query gave them.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]

    def records(self) -> Iterator[dict[str, object]]:
        """Yield each row as a mapping."""
        for row in self.rows:
            yield dict(zip(self.columns, row, strict=True))


def connect(store: Store, *, views: Iterable[str] = tuple(VIEW_DOCS)) -> duckdb.DuckDBPyConnection:
    """Return an in-memory database with every view, locked down to the store's own files.

    Args:
        store: To read.
        views: Those that will be asked; the others exist but may be empty.
    """
    asked = frozenset(views)
    return _connect(take_inventory(store, _tables_of(asked)), asked)


def query(
    store: Store, sql: str, *, most_rows: int = MOST_ROWS, seconds: float = MOST_SECONDS
) -> Table:
    """Return the answer to one SELECT over the views.

    Args:
        store: To ask.
        sql: One statement that selects; it can neither write nor reach other files.
        most_rows: Refuse a longer answer.
        seconds: Give up after this time.

    Raises:
        HarnessError: The statement does something else, is wrong, too long or too slow.
    """
    views = check_selects(sql)
    inventory = take_inventory(store, _tables_of(views))
    _warn(inventory.damaged)
    try:
        return _run(inventory, sql, views, most_rows=most_rows, seconds=seconds)
    except duckdb.Error as error:
        sound = None if isinstance(error, _USERS_ERRORS) else _without_unreadable(inventory)
        if sound is None:
            raise readable(error) from error
    return _run(sound, sql, views, most_rows=most_rows, seconds=seconds)


def describe_views(store: Store) -> Table:
    """Return every column of every view, with its type and its meaning."""
    inventory = take_inventory(store)
    metrics = _metrics_of(inventory)
    database = _connect(inventory, frozenset(VIEW_DOCS))
    rows: list[tuple[object, ...]] = []
    for view in VIEW_DOCS:
        for name, type_, *_ in database.execute(f"DESCRIBE {view}").fetchall():
            rows.append((view, name, type_, column_doc(view, name, metrics)))
    return Table(("view", "column", "type", "meaning"), tuple(rows))


def _tables_of(views: Iterable[str]) -> tuple[str, ...]:
    return ("runs", *sorted({t for view in views for t in _TABLES_OF_VIEW.get(view, ())}))


def _connect(inventory: Inventory, views: frozenset[str]) -> duckdb.DuckDBPyConnection:
    database = duckdb.connect(":memory:")
    for setting in (
        "TimeZone = 'UTC'",
        "temp_directory = ''",  # reading leaves nothing on the disk
        "python_enable_replacements = false",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
    ):
        database.execute(f"SET {setting}")
    paths = {
        table: [str(path.resolve()) for path in files] for table, files in inventory.files.items()
    }
    for table, names in paths.items():
        database.execute(f"SET VARIABLE {table}_files = ?::VARCHAR[]", [names])
    _set_quantiles(database, needed="leaderboard" in views)
    found = {table: bool(paths.get(table)) for table in ("runs", "metrics", "epochs", "queries")}
    metrics = _metrics_of(inventory) if "results" in views else _metrics_of(None)
    for statement in create_statements(found, metrics):
        database.execute(statement)
    database.execute(
        "SET allowed_paths = ?", [[name for names in paths.values() for name in names]]
    )
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")
    return database


def _metrics_of(inventory: Inventory | None) -> tuple[Metric, ...]:
    """Return the columns of `results`: the headlines, and whatever else was measured."""
    metrics = [Metric(prefix, name) for name in HEADLINES for prefix in ("", "val_")]
    files = inventory.files.get("metrics", ()) if inventory else ()
    if files:
        found = duckdb.connect(":memory:").execute(
            "SELECT DISTINCT name, part, selected, epoch = 0 "
            "FROM read_parquet(?, hive_partitioning = false)",
            [[str(path.resolve()) for path in files]],
        )
        metrics += sorted(
            Metric(prefix, name)
            for name, part, selected, untrained in found.fetchall()
            for prefix in _prefixes(part, selected=selected, untrained=untrained)
        )
    return tuple(dict.fromkeys(metrics))


def _prefixes(part: str, *, selected: bool, untrained: bool) -> tuple[str, ...]:
    if part == "val":
        return ("val_",) if selected else ()
    return ("",) * selected + (("untrained_",) if untrained else ("oracle_",) * (not selected))


def _set_quantiles(database: duckdb.DuckDBPyConnection, *, needed: bool) -> None:
    """Hand the 97.5% quantiles of Student's t to SQL, which has no such function."""
    quantiles: Sequence[float] = ()
    if needed:
        from scipy.special import stdtrit

        quantiles = [float(stdtrit(df, 0.975)) for df in range(1, _MOST_SEEDS)]
    database.execute("SET VARIABLE t_quantiles = ?::DOUBLE[]", [quantiles])


def _without_unreadable(inventory: Inventory) -> Inventory | None:
    """Return an inventory of the files that read well; None if that is all of them."""
    sound = {
        table: tuple(path for path in files if reads_well(path))
        for table, files in inventory.files.items()
    }
    lost = [
        path
        for table, files in inventory.files.items()
        for path in files
        if path not in sound[table]
    ]
    _warn(lost)
    return Inventory(sound, (*inventory.damaged, *lost)) if lost else None


def _warn(damaged: Sequence[Path]) -> None:
    if damaged:
        logger.warning(
            "left out %d damaged file(s), for example %s; see `harness doctor`",
            len(damaged),
            damaged[0],
        )


def _run(
    inventory: Inventory, sql: str, views: frozenset[str], *, most_rows: int, seconds: float
) -> Table:
    """Answer in a thread, because DuckDB does not notice Ctrl-C in the main one."""
    with _connect(inventory, views) as database, ThreadPoolExecutor(max_workers=1) as pool:
        answer = pool.submit(_fetch, database, sql, most_rows)
        try:
            return answer.result(timeout=seconds)
        except OutOfTimeError as error:
            database.interrupt()
            raise HarnessError(f"the query took more than {seconds:g} s") from error
        except KeyboardInterrupt:
            database.interrupt()
            raise


def _fetch(database: duckdb.DuckDBPyConnection, sql: str, most_rows: int) -> Table:
    result = database.execute(sql)
    columns = tuple(str(column[0]) for column in result.description or ())
    rows = result.fetchmany(most_rows + 1)
    if len(rows) > most_rows:
        raise HarnessError(f"the answer has more than {most_rows} rows", hint="add LIMIT")
    return Table(columns, tuple(rows))
