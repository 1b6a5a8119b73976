"""What was run: a listing, and everything about one run."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import HarnessError
from harness.report.outcomes import check_protocol, literal
from harness.store.database import Table, query
from harness.store.writer import Store

_SHOWN = 10  # candidates in an error message


@dataclass(frozen=True, slots=True)
class RunLog:
    """One attempt at a run.

    Attributes:
        facts: One row: every column of `attempts`.
        metrics: Part, epoch, name, value and whether the epoch was selected.
        epochs: Training curve: a column for each loss term and each learning rate.
    """

    facts: Table
    metrics: Table
    epochs: Table


def list_runs(
    store: Store,
    *,
    protocol: str | None = None,
    status: str | None = None,
    limit: int | None = None,
) -> Table:
    """Return one row per attempt, newest first.

    Args:
        store: To read.
        protocol: Only of this name.
        status: Only those that ended like this: ok, failed or interrupted.
        limit: Only so many.

    Raises:
        HarnessError: Nothing was ever run under this protocol.
    """
    wanted = {"protocol": protocol, "status": status}
    equal = [f"{name} = {literal(value)}" for name, value in wanted.items() if value is not None]
    where = f"WHERE {' AND '.join(equal)}" if equal else ""
    most = f"LIMIT {limit}" if limit is not None else ""
    found = query(
        store,
        f"""
        SELECT attempt_id, protocol, method, fold, seed, status, smoke,
            len(deviations) > 0 AS deviates, selected_epoch, headline_metric AS metric, value,
            wall_seconds, ended_at, error_message
        FROM attempts LEFT JOIN (
            SELECT attempt_id AS owner, name, value FROM all_metrics
            WHERE part = 'test' AND selected
        ) ON attempt_id = owner AND headline_metric = name
        {where} ORDER BY ended_at DESC, attempt_id DESC {most}
        """,  # noqa: S608 - literals are quoted, and the database is read-only
    )
    if protocol is not None and not found.rows:
        check_protocol(protocol, _protocols(store))
    return found


def _protocols(store: Store) -> list[str]:
    rows = query(store, "SELECT DISTINCT protocol FROM attempts ORDER BY protocol").rows
    return [str(protocol) for (protocol,) in rows]


def run_log(store: Store, prefix: str) -> RunLog:
    """Return all that is stored about one attempt.

    Args:
        store: To read.
        prefix: Beginning of an attempt id or of a run key; of several attempts at one run, the
            last is meant.

    Raises:
        HarnessError: No run, or more than one, begins like this.
    """
    attempt = _find(store, prefix)
    where = f"WHERE attempt_id = {literal(attempt)}"
    facts = query(store, f"SELECT * FROM attempts {where}")  # noqa: S608
    metrics = query(
        store,
        f"SELECT part, epoch, name, value, selected FROM all_metrics {where} "  # noqa: S608
        "ORDER BY epoch, part DESC, name",
    )
    epochs = query(store, f"SELECT * FROM all_epochs {where} ORDER BY epoch")  # noqa: S608
    return RunLog(facts, metrics, _widened(epochs))


def _find(store: Store, prefix: str) -> str:
    found = query(
        store,
        f"""
        SELECT run_key, arg_max(attempt_id, ended_at) FROM attempts
        WHERE starts_with(attempt_id, {literal(prefix)}) OR starts_with(run_key, {literal(prefix)})
        GROUP BY run_key ORDER BY run_key
        """,  # noqa: S608
    ).rows
    if not found:
        raise HarnessError(f"no run begins with {prefix!r}", hint="harness runs lists them")
    attempts = [str(attempt) for _, attempt in found]
    if len(attempts) > 1:
        some = ", ".join(attempts[:_SHOWN])
        raise HarnessError(f"{len(attempts)} runs begin with {prefix!r}", hint=f"which of {some}?")
    return attempts[0]


def _widened(epochs: Table) -> Table:
    """Return the training curve with each term in a column of its own."""
    lists = ("losses", "learning_rates", "shares")
    prefix = {"losses": "", "learning_rates": "lr ", "shares": "share "}
    records: list[dict[str, object]] = []
    for record in epochs.records():
        wide = {name: record[name] for name in ("epoch", "warmup", "steps", "images", "seconds")}
        for name in lists:
            terms = record[name]
            assert isinstance(terms, list)
            wide |= {f"{prefix[name]}{term['name']}": term["value"] for term in terms}
        records.append(wide)
    columns = tuple(dict.fromkeys(name for record in records for name in record))
    return Table(columns, tuple(tuple(record.get(name) for name in columns) for record in records))
