"""Copy some runs of a store into a small store of its own, for a paper or as an example."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from harness.errors import HarnessError
from harness.store.compaction import publish_segment
from harness.store.database import connect, query
from harness.store.files import make_folder, publish, readable_errors
from harness.store.schema import TABLES, schema_of
from harness.store.views import SOURCES
from harness.store.writer import COMMIT, ENSEMBLES, FORMAT, MARKER, Store

_ROWS = 122_880  # read at once
_PRIVATE = ("host",)  # where it was run says nothing about the result


def export(
    store: Store, folder: Path, *, where: str | None = None, neighbors: bool = False
) -> Mapping[str, int]:
    """Write the runs that count, with all their rows, and return the rows of each table.

    The name of the machine is left out.

    Args:
        store: To read.
        folder: Of the new store; it must hold none.
        where: SQL over the view `runs` that says which; None takes all.
        neighbors: Keep the nearest neighbours of each query, most of the bytes.

    Raises:
        HarnessError: No run fits, or the condition is wrong.
        StoreError: The file system refused.
    """
    condition = f"SELECT attempt_id FROM runs WHERE {where or 'true'} ORDER BY 1"  # noqa: S608
    chosen = [str(attempt) for (attempt,) in query(store, condition).rows]
    if not chosen:
        raise HarnessError(
            f"no run in {store.root} fits" + (f" {where!r}" if where else ""),
            hint="harness runs lists them",
        )
    with readable_errors("write to", folder):
        make_folder(folder)
        publish(folder / MARKER, json.dumps({"format": FORMAT}).encode() + b"\n")
    tables = {
        table: _rows(store, view, table, chosen, neighbors=neighbors)
        for view, table in SOURCES.items()
    }
    segment = publish_segment(Store(folder), tables)
    _copy_protocols(store, folder, tables[COMMIT])
    return {table: file.rows for table, file in segment.tables.items()}


def _rows(store: Store, view: str, table: str, chosen: list[str], *, neighbors: bool) -> pa.Table:
    """Return the rows of some attempts as the table of the store declares them."""
    blank = {name: f"NULL::VARCHAR AS {name}" for name in _PRIVATE if name in TABLES[table]}
    if table == "queries" and not neighbors:
        blank |= {
            name: f"[]::{kind}[] AS {name}"
            for name, kind in (("neighbors", "BIGINT"), ("neighbor_distances", "FLOAT"))
        }
    replaced = f"REPLACE ({', '.join(blank.values())})" if blank else ""
    whole = table == ENSEMBLES  # it goes along with all its members
    belongs = "list_has_all(?, members)" if whole else "list_contains(?, attempt_id)"
    with connect(store) as database:
        found = database.sql(
            f"SELECT * {replaced} FROM {view} WHERE {belongs} ORDER BY ALL",  # noqa: S608 - ours
            params=[chosen],
        ).to_arrow_table()
    schema = pa.schema([pa.field(field.name, field.type) for field in schema_of(table)])
    return found.cast(schema)


def _copy_protocols(store: Store, folder: Path, runs: pa.Table) -> None:
    for digest in sorted(set(runs["protocol_digest"].to_pylist())):
        path = store.root / "protocols" / f"{digest}.yaml"
        if path.is_file():
            publish(folder / "protocols" / path.name, path.read_bytes())
