"""Print tables: aligned text, CSV, JSON, Markdown, LaTeX."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from harness.report.leaderboard import Board, Leaderboard, Row
from harness.store.database import Table

SCHEMA_VERSION = 1  # of the JSON


def render(table: Table, style: str) -> str:
    """Return a table as text.

    Args:
        table: To print.
        style: A key of `STYLES`; `json` is one object, the others have a row a line.
    """
    return STYLES[style](table)


def to_text(table: Table) -> str:
    """Return columns padded to one width, numbers to the right, below a header."""
    cells = [[cell_text(value) for value in row] for row in table.rows]
    widths = [max(map(len, column)) for column in zip(table.columns, *cells, strict=True)]
    right = [_is_numeric(column) for column in _columns(table)]
    lines = [
        _padded(table.columns, widths, right),
        _padded(["─" * w for w in widths], widths, right),
    ]
    lines += [_padded(row, widths, right) for row in cells]
    return "\n".join(lines)


def to_csv(table: Table) -> str:
    """Return RFC 4180 values, floats in full precision; NULL is empty."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([["" if v is None else _exact(v) for v in row] for row in table.rows])
    return sink.getvalue().rstrip("\n")


def to_json(table: Table) -> str:
    """Return one object with `columns` and `rows`; what is not finite is null."""
    rows = [[plain(value) for value in row] for row in table.rows]
    return _dump({"columns": table.columns, "rows": rows})


def to_markdown(table: Table) -> str:
    """Return a GitHub table."""
    rules = ["---:" if _is_numeric(column) else "---" for column in _columns(table)]
    body = [[cell_text(value).replace("|", "\\|") for value in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [table.columns, rules, *body])


def to_latex(table: Table) -> str:
    """Return a `tabular` with booktabs rules."""
    alignment = "".join("r" if _is_numeric(column) else "l" for column in _columns(table))
    header, *body = [
        " & ".join(_latex_escaped(cell_text(value)) for value in row) + r" \\"
        for row in [table.columns, *table.rows]
    ]
    lines = [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", header, r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


STYLES: Mapping[str, Callable[[Table], str]] = {
    "table": to_text,
    "csv": to_csv,
    "json": to_json,
    "md": to_markdown,
    "latex": to_latex,
}


# --- leaderboards ---------------------------------------------------------------------------


def board_table(board: Board) -> Table:
    """Return the rows of a board; columns without any value are left out."""
    columns: dict[str, list[object]] = {
        "rank": [row.rank for row in board.rows],
        "method": [row.method for row in board.rows],
        board.group.metric: [row.mean for row in board.rows],
        "low": [row.interval.low if row.interval else None for row in board.rows],
        "high": [row.interval.high if row.interval else None for row in board.rows],
        "seeds": [row.num_seeds for row in board.rows],
        "folds": [row.num_folds for row in board.rows],
        "untrained": [row.untrained for row in board.rows],
        f"oracle_{board.group.metric}": [row.oracle for row in board.rows],
        "failed": [row.num_failed for row in board.rows],
        "missing": [row.num_missing for row in board.rows],
        "seconds": [row.seconds for row in board.rows],
    }
    kept = {name: values for name, values in columns.items() if any(v is not None for v in values)}
    return Table(tuple(kept), tuple(zip(*kept.values(), strict=True)))


def render_leaderboard(leaderboard: Leaderboard, style: str, *, every: bool = False) -> str:
    """Return the newest board with its notes, and one line about each older one.

    Args:
        leaderboard: To print.
        style: A key of `STYLES`; `json` holds every board in one object, `csv` the newest alone.
        every: Print the older boards as well.
    """
    if style == "json":
        return _dump({"boards": [_board_record(board) for board in leaderboard.boards]})
    newest, *older = leaderboard.boards
    if style == "csv":
        return to_csv(board_table(newest))
    shown = leaderboard.boards if every else (newest,)
    blocks = [
        "\n".join([board_title(board), "", _rows_text(board, style), *board_notes(board)])
        for board in shown
    ]
    if older and not every:
        blocks += ["\n".join(["Not comparable with these, and not shown:", *map(_mention, older)])]
    return "\n\n".join(blocks)


def _rows_text(board: Board, style: str) -> str:
    return render(_marked(board), style) if board.rows else "No run counts yet."


def _marked(board: Board) -> Table:
    """Return the rows of a board, with a `*` at each mean over survivors only."""
    rows = tuple(
        row if row.complete else replace(row, method=f"{row.method} *") for row in board.rows
    )
    return board_table(replace(board, rows=rows))


def board_title(board: Board) -> str:
    """Return a line that says what may be compared here."""
    group = board.group
    data = f", data {group.data_digest[:8]}" if group.data_digest else ""
    return (
        f"{group.protocol} v{group.protocol_version} ({group.protocol_digest[:8]}{data}), "
        f"{group.metric} on {group.dataset}"
    )


def board_notes(board: Board) -> list[str]:
    """Return the lines below a board: how to read it, and what was left out."""
    notes: list[str] = []
    if any(row.interval for row in board.rows):
        notes.append("low, high: 95% Student-t interval over seeds.")
    elif any(row.num_seeds == 1 for row in board.rows):
        notes.append("One seed has no interval; run more with --seeds 0-4.")
    if any(row.oracle is not None for row in board.rows):
        notes.append("oracle: best test epoch, which no honest selection knows.")
    if not all(row.complete for row in board.rows):
        notes.append("* over the runs that ended well only.")
    if board.excluded:
        reasons = (f"{reason}: {count}" for reason, count in board.excluded.items())
        notes.append(f"Left out: {'; '.join(reasons)}.")
    return ["", *notes] if notes else []


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
        "method": row.method,
        "mean": row.mean,
        "low": low,
        "high": high,
        "num_seeds": row.num_seeds,
        "num_folds": row.num_folds,
        "untrained": row.untrained,
        "oracle": row.oracle,
        "num_failed": row.num_failed,
        "num_missing": row.num_missing,
        "complete": row.complete,
        "seconds": row.seconds,
    }


# --- values ---------------------------------------------------------------------------------


def cell_text(value: object) -> str:
    """Return a value for people: floats with four significant digits, times without fractions."""
    if value is None:
        return ""
    if isinstance(value, bool | str | int):
        return " ".join(str(value).split())
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return str(_exact(value))


def _float_text(value: float) -> str:
    """Return scores with four decimals, larger numbers with one, tiny ones as powers of ten."""
    size = abs(value)
    if 1e-3 <= size < 10 or not value:  # noqa: PLR2004
        return f"{value:.4f}"
    return f"{value:.1f}" if 10 <= size < 1e7 else f"{value:.3e}"  # noqa: PLR2004


def plain(value: object) -> object:
    """Return a value as JSON has it; NaN and infinities, which it has not, become None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime):  # the store's times are UTC
        return value.replace(tzinfo=value.tzinfo or UTC).isoformat()
    if isinstance(value, Decimal):
        return float(value)
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _exact(value: object) -> object:
    """Return a number as it is, and everything else as text."""
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(plain(value), ensure_ascii=False)
    if isinstance(value, datetime):
        return plain(value)
    return value


def _dump(content: Mapping[str, object]) -> str:
    return json.dumps({"schema_version": SCHEMA_VERSION, **content}, ensure_ascii=False)


def _columns(table: Table) -> list[list[object]]:
    return [[row[index] for row in table.rows] for index in range(len(table.columns))]


def _is_numeric(values: Iterable[object]) -> bool:
    present = [value for value in values if value is not None]
    return bool(present) and all(
        isinstance(value, int | float | Decimal) and not isinstance(value, bool)
        for value in present
    )


def _padded(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    texts = (
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    )
    return "  ".join(texts).rstrip()


def _latex_escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {char: f"\\{char}" for char in "&%$#_{}"}
    return "".join(special.get(char, char) for char in text)
