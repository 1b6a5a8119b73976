"""Numbers that others published, each with where it was read; never mixed with ours.

The file beside this module has one row per number. `harness_protocol`, `harness_loss`,
`harness_miner` and `harness_backbone` say which of our rows it may stand beside; they are empty
where nothing of ours measures the same thing.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files
from typing import NamedTuple

DOC = "Published numbers with their sources; one stands beside ours where `harness_…` say so."
COLUMN_DOCS = {
    "value": "Of the metric; of published numbers too a share, not percent.",
    "harness_protocol": "Protocol of ours that measures the same; NULL if none does.",
    "harness_loss": "Loss of ours that it is a number of.",
    "harness_miner": "Miner of ours that belongs to it.",
    "harness_backbone": "Backbone of ours that it was measured with.",
    "source": "Paper or repository that printed it.",
    "year": "Of the source.",
    "notes": "What a reader should know before trusting it.",
    "read_from": "File it was read from.",
}


class Published(NamedTuple):
    """One published number; the fields are the columns of the file."""

    protocol: str
    dataset: str
    method: str
    metric: str
    value: float
    backbone: str | None
    embedding_dim: int | None
    harness_protocol: str | None
    harness_loss: str | None
    harness_miner: str | None
    harness_backbone: str | None
    source: str
    year: int
    notes: str
    read_from: str


@cache
def published_numbers() -> tuple[Published, ...]:
    """Return every published number, in the order of the file."""
    text = files("harness.store").joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(_typed(row) for row in csv.DictReader(text.splitlines()))


def _typed(row: dict[str, str]) -> Published:
    return Published(
        protocol=row["protocol"],
        dataset=row["dataset"],
        method=row["method"],
        metric=row["metric"],
        value=float(row["value"]),
        backbone=row["backbone"] or None,
        embedding_dim=int(row["embedding_dim"]) if row["embedding_dim"] else None,
        harness_protocol=row["harness_protocol"] or None,
        harness_loss=row["harness_loss"] or None,
        harness_miner=row["harness_miner"] or None,
        harness_backbone=row["harness_backbone"] or None,
        source=row["source"],
        year=int(row["year"]),
        notes=row["notes"],
        read_from=row["read_from"],
    )


def published_select() -> str:
    """Return the numbers as SQL, so that the view needs no file of ours."""
    rows = ", ".join(f"({', '.join(map(_literal, row))})" for row in published_numbers())
    columns = ", ".join(Published._fields)
    typed = "value::DOUBLE AS value, embedding_dim::BIGINT AS embedding_dim, year::BIGINT AS year"
    return f"SELECT * REPLACE ({typed}) FROM (VALUES {rows}) AS numbers({columns})"  # noqa: S608


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
