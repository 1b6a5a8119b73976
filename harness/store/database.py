"""Ask a store in SQL: DuckDB views over its files, and queries that can do nothing but read."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as OutOfTimeError
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from harness.errors import HarnessError
from harness.store.inference import STUDENT_P
from harness.store.inventory import Inventory, looks_whole, reads_well, take_inventory
from harness.store.sandbox import check_selects, readable
from harness.store.views import (
    HEADLINES,
    SOURCES,
    VIEW_DOCS,
    Metric,
    column_doc,
    create_statement,
    views_behind,
)
from harness.store.writer import Store

logger = logging.getLogger(__name__)

Database = duckdb.DuckDBPyConnection
T = TypeVar("T")

MOST_ROWS = 1_000_000
MOST_SECONDS = 600.0
_MOST_SEEDS = 1_000  # length of the table of t quantiles

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


def connect(store: Store) -> duckdb.DuckDBPyConnection:
    """Return an in-memory database with every view, locked down to the store's own files."""
    return _filled(_empty(), take_inventory(store), views_behind(VIEW_DOCS))


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
    return _answer(store, sql, partial(_fetch, sql=sql, most_rows=most_rows), seconds=seconds)


def arrow(store: Store, sql: str, *, seconds: float = MOST_SECONDS) -> pa.Table:
    """Return the answer to one SELECT over the views by column, which suits many rows.

    Raises:
        HarnessError: The statement does something else, is wrong or too slow.
    """
    return _answer(store, sql, lambda db: db.sql(sql).to_arrow_table(), seconds=seconds)


def _answer(store: Store, sql: str, fetch: Callable[[Database], T], *, seconds: float) -> T:
    """Check a statement and fetch its answer; again where files moved or cannot be read."""
    with _empty() as parser:
        views = views_behind(check_selects(sql, parser=parser))
    tables = [SOURCES[view] for view in views if view in SOURCES]
    ask = partial(_run, views=views, fetch=fetch, seconds=seconds)
    tried: Inventory | None = None
    while True:
        inventory = take_inventory(store, tables)
        try:
            return ask(inventory)
        except duckdb.Error as error:
            if isinstance(error, _USERS_ERRORS):
                raise readable(error) from error
            if _moved(inventory) and inventory != tried:
                tried = inventory
                continue  # merged since the listing; every row is elsewhere
            if (sound := _without_unreadable(inventory)) is None:
                raise readable(error) from error
            return ask(sound)


def describe_views(store: Store) -> Table:
    """Return every column of every view, with its type and its meaning."""
    rows: list[tuple[object, ...]] = []
    with connect(store) as database:
        for view in VIEW_DOCS:
            for name, type_, *_ in database.execute(f"DESCRIBE {view}").fetchall():
                rows.append((view, name, type_, column_doc(view, name)))
    return Table(("view", "column", "type", "meaning"), tuple(rows))


def _empty() -> duckdb.DuckDBPyConnection:
    database = duckdb.connect(":memory:")
    for setting in (
        "TimeZone = 'UTC'",
        "temp_directory = ''",  # reading leaves nothing on the disk
        "python_enable_replacements = false",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
    ):
        database.execute(f"SET {setting}")
    return database


def _filled(
    database: duckdb.DuckDBPyConnection, inventory: Inventory, views: Collection[str]
) -> duckdb.DuckDBPyConnection:
    """Create the views, and lock the database down to the files behind them."""
    paths = {
        table: [os.path.abspath(path) for path in files]  # noqa: PTH100 - 20 times resolve()
        for table, files in inventory.files.items()
    }
    for table, names in paths.items():
        database.execute(f"SET VARIABLE {table}_files = ?::VARCHAR[]", [names])
    found = [table for table, names in paths.items() if names]
    metrics = _measured(database, found) if "results" in views else ()
    database.execute(STUDENT_P)
    if not {"leaderboard", "comparisons"}.isdisjoint(views):
        _set_quantiles(database)
    for view in views:
        database.execute(create_statement(view, found=found, metrics=metrics))
    database.execute(
        "SET allowed_paths = ?", [[name for names in paths.values() for name in names]]
    )
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")
    return database


def _measured(database: duckdb.DuckDBPyConnection, found: Collection[str]) -> tuple[Metric, ...]:
    """Return the columns of `results`: the headlines, and whatever else was measured."""
    metrics = [Metric(prefix, name) for name in HEADLINES for prefix in ("", "val_")]
    database.execute(create_statement("all_metrics", found=found, metrics=()))
    rows = database.execute("SELECT DISTINCT name, part, selected, epoch = 0 FROM all_metrics")
    metrics += sorted(
        Metric(prefix, name)
        for name, part, selected, untrained in rows.fetchall()
        for prefix in _prefixes(part, selected=selected, untrained=untrained)
    )
    database.execute("DROP VIEW all_metrics")
    return tuple(dict.fromkeys(metrics))


def _prefixes(part: str, *, selected: bool, untrained: bool) -> tuple[str, ...]:
    if part != "test":
        return (f"{part}_",) if selected else ()
    return ("",) * selected + (("untrained_",) if untrained else ("oracle_",) * (not selected))


def _set_quantiles(database: duckdb.DuckDBPyConnection) -> None:
    """Hand the 97.5% quantiles of Student's t to SQL, which has no such function."""
    from scipy.special import stdtrit

    quantiles = [float(stdtrit(df, 0.975)) for df in range(1, _MOST_SEEDS)]
    database.execute("SET VARIABLE t_quantiles = ?::DOUBLE[]", [quantiles])


def _moved(inventory: Inventory) -> bool:
    """Tell whether a file was deleted since it was listed."""
    return not all(path.exists() for paths in inventory.files.values() for path in paths)


def _without_unreadable(inventory: Inventory) -> Inventory | None:
    """Return an inventory of the files that read well; None if that is all of them."""
    merged = {table: _readable_files(paths) for table, paths in inventory.merged.items()}
    loose = {table: _readable_files(paths) for table, paths in inventory.loose.items()}
    sound = Inventory(inventory.generation, merged, loose)
    lost = [
        path
        for table, paths in inventory.files.items()
        for path in sorted(set(paths) - set(sound.files[table]))
    ]
    if not lost:
        return None
    logger.warning(
        "left out %d damaged file(s), for example %s; see `harness store verify`",
        len(lost),
        lost[0],
    )
    return sound


def _readable_files(paths: Sequence[Path]) -> tuple[Path, ...]:
    return tuple(path for path in paths if looks_whole(path) and reads_well(path))


def _run(
    inventory: Inventory,
    *,
    views: Collection[str],
    fetch: Callable[[Database], T],
    seconds: float,
) -> T:
    """Answer in a thread, because DuckDB does not notice Ctrl-C in the main one."""

    def answer() -> T:
        return fetch(_filled(database, inventory, views))

    with _empty() as database, ThreadPoolExecutor(max_workers=1) as pool:
        future = pool.submit(answer)
        try:
            return future.result(timeout=seconds)
        except OutOfTimeError as error:
            _interrupt(database, future)
            raise HarnessError(f"the query took more than {seconds:g} s") from error
        except KeyboardInterrupt:
            _interrupt(database, future)
            raise


def _interrupt(database: duckdb.DuckDBPyConnection, future: Future[Any]) -> None:
    """End the thread; again and again, for between two statements DuckDB forgets the first."""
    while not future.done():
        database.interrupt()
        wait([future], timeout=0.05)


def _fetch(database: Database, *, sql: str, most_rows: int) -> Table:
    result = database.execute(sql)
    columns = tuple(str(column[0]) for column in result.description or ())
    rows = result.fetchmany(most_rows + 1)
    if len(rows) > most_rows:
        raise HarnessError(f"the answer has more than {most_rows} rows", hint="add LIMIT")
    return Table(columns, tuple(rows))
