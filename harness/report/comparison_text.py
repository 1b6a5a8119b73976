"""Print a comparison of two methods."""

from __future__ import annotations

from harness.report.comparison import Comparison
from harness.report.statistics import Interval
from harness.report.tables import dump, render, to_csv
from harness.store.database import Table

_SEEDS = "seeds"


def render_comparison(comparison: Comparison, style: str) -> str:
    """Return means, differences, the verdict, and the queries that differ.

    Args:
        comparison: To print.
        style: `table`, `md`, `latex`, `json` (one object) or `csv` (the differences alone).
    """
    if style == "json":
        return dump(_record(comparison))
    if style == "csv":
        return to_csv(_differences(comparison))
    blocks = [
        f"{comparison.group.title}",
        render(_means(comparison), style),
        render(_differences(comparison), style),
        "\n".join(_verdict(comparison)),
    ]
    if comparison.queries and comparison.queries.extreme:
        blocks += ["Queries that differ the most:", render(_extreme(comparison), style)]
    return "\n\n".join(blocks)


def _means(comparison: Comparison) -> Table:
    rows = zip(
        (comparison.first, comparison.second),
        comparison.means,
        [comparison.difference.num_cells] * 2,
        comparison.num_unpaired,
        strict=True,
    )
    return Table(("method", comparison.group.metric, "paired runs", "unpaired"), tuple(rows))


def _differences(comparison: Comparison) -> Table:
    """Return the difference with an interval over each thing it may be a sample of."""
    found = comparison.difference
    rows: list[tuple[object, ...]] = [
        (_SEEDS, found.mean, *_ends(found.interval), found.p_value, found.num_pairs, None)
    ]
    if queries := comparison.queries:
        for what, interval, count in (
            ("seeds and queries", queries.over_queries, queries.num_queries),
            ("seeds and classes", queries.over_classes, queries.num_classes),
        ):
            rows.append((what, found.mean, *_ends(interval), None, found.num_pairs, count))
    columns = ("sample of", "difference", "low", "high", "p", "pairs", "queries or classes")
    return Table(columns, tuple(rows))


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return (interval.low, interval.high) if interval else (None, None)


def _verdict(comparison: Comparison) -> list[str]:
    found, queries = comparison.difference, comparison.queries
    if found.p_value is None:
        lines = ["One shared seed cannot tell luck from skill; run both with --seeds 0-4."]
    elif comparison.better is None:
        lines = [f"A tie: {found.num_pairs} pairs do not tell them apart (paired t, 5%)."]
    else:
        lines = [f"{comparison.better} is better on this test set (paired t over seeds, 5%)."]
        lines += _beyond(queries.over_classes if queries else None)
    if queries:
        equal = queries.num_queries - queries.num_first - queries.num_second
        lines.append(
            f"Of {queries.num_queries} queries, {comparison.first} is better on "
            f"{queries.num_first}, {comparison.second} on {queries.num_second}, equal on {equal}."
        )
    return lines


def _beyond(over_classes: Interval | None) -> list[str]:
    if over_classes is None:
        return []
    if over_classes.low <= 0 <= over_classes.high:
        return ["Other classes could turn it round: that interval holds zero."]
    return ["The interval over seeds and classes says the same of other classes like these."]


def _extreme(comparison: Comparison) -> Table:
    assert comparison.queries is not None
    rows = tuple(tuple(each) for each in comparison.queries.extreme)
    return Table(("sample_id", "label", "difference"), rows)


def _record(comparison: Comparison) -> dict[str, object]:
    found, queries = comparison.difference, comparison.queries
    low, high = _ends(found.interval)
    record: dict[str, object] = {
        **comparison.group._asdict(),
        "higher_is_better": comparison.higher_is_better,
        "first": comparison.first,
        "second": comparison.second,
        "first_mean": comparison.means[0],
        "second_mean": comparison.means[1],
        "difference": found.mean,
        "low": low,
        "high": high,
        "p_value": found.p_value,
        "num_pairs": found.num_pairs,
        "num_cells": found.num_cells,
        "num_unpaired": list(comparison.num_unpaired),
        "tie": comparison.better is None,
        "better": comparison.better,
        "queries": None,
    }
    if queries:
        record["queries"] = {
            "num_queries": queries.num_queries,
            "num_classes": queries.num_classes,
            "num_first": queries.num_first,
            "num_second": queries.num_second,
            "over_queries": queries.over_queries,
            "over_classes": queries.over_classes,
            "extreme": [each._asdict() for each in queries.extreme],
        }
    return record
