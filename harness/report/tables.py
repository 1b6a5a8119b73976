"""Print tables: aligned text, CSV, JSON, Markdown, LaTeX.

`faint` names columns that are shown, but not as an equal of the others.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from harness.store.database import Table

SCHEMA_VERSION = 1  # of the JSON


def render(table: Table, style: str) -> str:
    """Return a table as text.

    Args:
        table: To print.
        style: A key of `STYLES`; `json` is one object, the others have a row a line.
    """
    return STYLES[style](table)


def to_text(table: Table, faint: Collection[str] = ()) -> str:
    """Return columns padded to one width, numbers to the right, below a header.

    Faint columns are dimmed with a terminal's escape codes.
    """
    cells = [[cell_text(value) for value in row] for row in table.rows]
    widths = [max(map(len, column)) for column in zip(table.columns, *cells, strict=True)]
    right = [_is_numeric(column) for column in _columns(table)]
    dim = [name in faint for name in table.columns]
    lines = [
        _padded(table.columns, widths, right, dim),
        _padded(["─" * w for w in widths], widths, right, dim),
    ]
    lines += [_padded(row, widths, right, dim) for row in cells]
    return "\n".join(lines)


def fitted(table: Table, width: int, *, droppable: Sequence[str]) -> Table:
    """Return a table that is at most so wide, if leaving out columns can make it so.

    Args:
        table: To fit.
        width: In characters.
        droppable: Columns that may go, the first one first.
    """
    names = [name for name in table.columns if name in droppable]
    for gone in sorted(names, key=droppable.index):
        if _widest(table) <= width:
            break
        kept = [index for index, name in enumerate(table.columns) if name != gone]
        table = Table(
            tuple(table.columns[index] for index in kept),
            tuple(tuple(row[index] for index in kept) for row in table.rows),
        )
    return table


def _widest(table: Table) -> int:
    return max(map(len, to_text(table).split("\n")))


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
    return dump({"columns": table.columns, "rows": rows})


def to_markdown(table: Table, faint: Collection[str] = ()) -> str:
    """Return a GitHub table; faint columns are small."""
    rules = ["---:" if _is_numeric(column) else "---" for column in _columns(table)]
    body = [[cell_text(value).replace("|", "\\|") for value in row] for row in table.rows]
    small = [name in faint for name in table.columns]
    body = [
        [
            f"<sub>{cell}</sub>" if is_small and cell else cell
            for cell, is_small in _zip(row, small)
        ]
        for row in body
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in [table.columns, rules, *body])


def to_latex(table: Table, faint: Collection[str] = ()) -> str:
    """Return a `tabular` with booktabs rules; faint columns are grey and need xcolor."""
    alignment = "".join("r" if _is_numeric(column) else "l" for column in _columns(table))
    grey = [name in faint for name in table.columns]
    header, *body = [
        " & ".join(
            rf"\textcolor{{gray}}{{{text}}}" if is_grey and text else text
            for text, is_grey in _zip([_latex_escaped(cell_text(value)) for value in row], grey)
        )
        + r" \\"
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


def dump(content: Mapping[str, object]) -> str:
    """Return one JSON object with the version of its shape."""
    return json.dumps({"schema_version": SCHEMA_VERSION, **content}, ensure_ascii=False)


def _columns(table: Table) -> list[list[object]]:
    return [[row[index] for row in table.rows] for index in range(len(table.columns))]


def _is_numeric(values: Iterable[object]) -> bool:
    present = [value for value in values if value is not None]
    return bool(present) and all(
        isinstance(value, int | float | Decimal) and not isinstance(value, bool)
        for value in present
    )


def _padded(
    cells: Sequence[str], widths: Sequence[int], right: Sequence[bool], dim: Sequence[bool]
) -> str:
    texts = [
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    ]
    texts[-1:] = [text.rstrip() for text in texts[-1:]]
    return "  ".join(
        f"\x1b[2m{text}\x1b[0m" if is_dim else text for text, is_dim in _zip(texts, dim)
    ).rstrip()


def _zip(texts: Sequence[str], marks: Sequence[bool]) -> Iterator[tuple[str, bool]]:
    return zip(texts, marks, strict=True)


def _latex_escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {char: f"\\{char}" for char in "&%$#_{}"}
    return "".join(special.get(char, char) for char in text)
