"""Print leaderboards: what is compared, how sure each place is, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.report.leaderboard import Board, Leaderboard, Row
from harness.report.tables import (
    dump,
    fitted,
    plain,
    to_csv,
    to_latex,
    to_markdown,
    to_text,
)
from harness.store.database import Table

# Left out first where a terminal is too narrow: what can be looked up, before what decides.
_DROPPABLE = (
    "folds",
    "seeds",
    "untrained",
    "MiB",
    "images/s",
    "cpu s",
    "cuda s",
    "search s",
    "trials",
    "gap",
    "paper",
    "missing",
    "failed",
)


_NAME = 28  # characters of a method on a terminal that is too narrow


def render_leaderboard(
    leaderboard: Leaderboard, style: str, *, every: bool = False, width: int | None = None
) -> str:
    """Return the newest board with its notes, and one line about each older one.

    Args:
        leaderboard: To print.
        style: `table`, `md`, `latex`, `json` (every board in one object) or `csv` (the newest).
        every: Print the older boards as well.
        width: Of the terminal that shows a `table`; None where there is none.
    """
    if style == "json":
        return dump({"boards": [_board_record(board) for board in leaderboard.boards]})
    newest, *older = leaderboard.boards
    if style == "csv":
        return to_csv(full_table(newest))
    shown = leaderboard.boards if every else (newest,)
    blocks = [
        "\n".join([board_title(board), "", _rows_text(board, style, width), *board_notes(board)])
        for board in shown
    ]
    if older and not every:
        blocks += ["\n".join(["Not comparable with these, and not shown:", *map(_mention, older)])]
    return "\n\n".join(blocks)


def _rows_text(board: Board, style: str, width: int | None) -> str:
    if not board.rows:
        return "No run counts yet."
    table = short_table(board)
    oracle = {f"oracle_{board.group.metric}", "gap"}
    if style == "md":
        return to_markdown(table, oracle)
    if style == "latex":
        return to_latex(table, oracle)
    if width is None:
        return to_text(table)
    table = _with_short_names(table, width)
    narrow = fitted(table, width, droppable=[*_DROPPABLE, f"oracle_{board.group.metric}"])
    text = to_text(narrow, oracle)
    hidden = [name for name in table.columns if name not in narrow.columns]
    return f"{text}\n\nToo narrow for {', '.join(hidden)}." if hidden else text


def _with_short_names(table: Table, width: int) -> Table:
    """Return the table with the middle of long method names left out, if it is too wide."""
    if len(to_text(table).split("\n", 1)[0]) <= width:
        return table
    at = table.columns.index("method")
    names = [str(row[at]) for row in table.rows]
    short = [n if len(n) <= _NAME else f"{n[: _NAME // 2]}…{n[1 - _NAME // 2 :]}" for n in names]
    if len(set(short)) < len(set(names)):  # no two methods may look like one
        return table
    rows = zip(table.rows, short, strict=True)
    return Table(table.columns, tuple((*row[:at], name, *row[at + 1 :]) for row, name in rows))


def short_table(board: Board) -> Table:
    """Return the rows of a board for people; columns without any value are left out."""
    metric, rows = board.group.metric, board.rows
    failed, missing = any(row.num_failed for row in rows), any(row.num_missing for row in rows)
    columns: dict[str, list[object]] = {
        "rank": [_rank_text(row) for row in rows],
        "method": [row.method if row.complete else f"{row.method} *" for row in rows],
        metric: [row.mean for row in rows],
        "low": [row.interval.low if row.interval else None for row in rows],
        "high": [row.interval.high if row.interval else None for row in rows],
        "runs": [f"{row.num_ok}/{row.num_planned}" for row in rows],
        "failed": [row.num_failed if failed else None for row in rows],
        "missing": [row.num_missing if missing else None for row in rows],
        f"oracle_{metric}": [row.oracle for row in rows],
        "gap": [row.gap for row in rows],
        "paper": [_paper_text(row) for row in rows],
        "untrained": [row.untrained for row in rows],
        "seeds": [row.num_seeds for row in rows],
        "folds": [row.num_folds for row in rows],
        **_seconds(rows),
        "trials": [row.cost.trials for row in rows],
        "search s": [row.cost.search_seconds for row in rows],
        "images/s": [row.cost.images_per_second for row in rows],
        "MiB": [row.cost.peak_memory_mib for row in rows],
    }
    return _table({k: v for k, v in columns.items() if any(x is not None for x in v)})


def _rank_text(row: Row) -> str | None:
    if row.place is None:
        return None
    first, last, _ = row.place
    return str(first) if first == last else f"{first}-{last}"


def _paper_text(row: Row) -> str | None:
    found = sorted({number.value for number in row.published})
    if not found:
        return None
    low, high = found[0], found[-1]
    return f"{low:.3f}" if low == high else f"{low:.3f}-{high:.3f}"


def _seconds(rows: Sequence[Row]) -> dict[str, list[object]]:
    """Return a column for each kind of device: their seconds are not the same thing."""
    devices = sorted({row.cost.device for row in rows if row.cost.device})
    return {
        f"{device} s": [row.cost.seconds if row.cost.device == device else None for row in rows]
        for device in devices
    }


def full_table(board: Board) -> Table:
    """Return the rows of a board for programs: every column, one number in each cell."""
    records = [_flat(row, board.group.metric) for row in board.rows]
    names = list(records[0]) if records else ["method"]
    return _table({name: [record[name] for record in records] for name in names})


def _flat(row: Row, metric: str) -> dict[str, object]:
    record = {name: value for name, value in _row_record(row).items() if name != "ties"}
    numbers = [number.value for number in row.published]
    record.pop("published")
    paper = {"paper_low": min(numbers, default=None), "paper_high": max(numbers, default=None)}
    renamed = {"mean": metric, "oracle": f"oracle_{metric}"}
    short = {renamed.get(name, name.removeprefix("num_")): v for name, v in record.items()}
    return short | paper


def _table(columns: Mapping[str, Sequence[object]]) -> Table:
    return Table(tuple(columns), tuple(zip(*columns.values(), strict=True)))


def board_title(board: Board) -> str:
    """Return a line that says what may be compared here."""
    return board.group.title


def board_notes(board: Board) -> list[str]:
    """Return the lines below a board: how to read it, and what was left out."""
    rows = board.rows
    notes = [note for note, holds in _notes(rows).items() if holds]
    if board.excluded:
        reasons = (f"{reason}: {count}" for reason, count in board.excluded.items())
        notes.append(f"Left out: {'; '.join(reasons)}.")
    return ["", *notes] if notes else []


def _notes(rows: Sequence[Row]) -> dict[str, bool]:
    some_interval = any(row.interval for row in rows)
    return {
        "low, high: 95% Student-t interval over seeds.": some_interval,
        "rank: every place that is possible; methods that share one are not told apart "
        "(paired t over seeds, 5%, Holm).": any(row.place and row.place.ties for row in rows),
        "One seed has no interval; run more with --seeds 0-4.": not some_interval
        and any(row.num_seeds == 1 for row in rows),
        "oracle: best test epoch, which no honest selection knows; gap: what it flatters.": any(
            row.oracle is not None for row in rows
        ),
        "paper: printed for this loss, miner and backbone; most papers print the best test epoch, "
        "so read it beside oracle.": any(row.published for row in rows),
        "[tuned]: values picked by a search on the validation part, on other seeds; trials and "
        "search s: what that took.": any(row.cost.trials is not None for row in rows),
        "* over the runs that ended well only.": not all(row.complete for row in rows),
    }


def _mention(board: Board) -> str:
    return f"  {board_title(board)}: {len(board.rows)} methods, {board.newest:%Y-%m-%d}"


def _board_record(board: Board) -> dict[str, object]:
    return {
        **board.group._asdict(),
        "metric_version": board.metric_version,
        "higher_is_better": board.higher_is_better,
        "newest": plain(board.newest),
        "excluded": dict(board.excluded),
        "rows": [_row_record(row) for row in board.rows],
    }


def _row_record(row: Row) -> dict[str, object]:
    low, high = row.interval or (None, None)
    return {
        "rank": row.rank,
        "last_rank": row.place.last if row.place else None,
        "ties": list(row.place.ties) if row.place else [],
        "method": row.method,
        "mean": row.mean,
        "low": low,
        "high": high,
        "num_seeds": row.num_seeds,
        "num_folds": row.num_folds,
        "num_planned": row.num_planned,
        "num_ok": row.num_ok,
        "num_failed": row.num_failed,
        "num_missing": row.num_missing,
        "complete": row.complete,
        "untrained": row.untrained,
        "oracle": row.oracle,
        "gap": row.gap,
        "device": row.cost.device,
        "device_seconds": row.cost.seconds,
        "wall_seconds": row.cost.wall_seconds,
        "images_per_second": row.cost.images_per_second,
        "peak_memory_mib": row.cost.peak_memory_mib,
        "trials": row.cost.trials,
        "search_seconds": row.cost.search_seconds,
        "published": [number._asdict() for number in row.published],
    }
