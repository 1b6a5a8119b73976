"""Seconds of a leaderboard over a large store: in single files, folded, and compacted.

The runs are synthetic, 12 metrics each, and written without fsync, which only a power cut would
notice. Each answer is a fresh Python call on warm files; the median of three counts, once for the
first state. Wall seconds, and processor seconds for machines that do other work.
Run: `python benchmarks/store.py [--runs 100000] [--folder DIR] [--json]`; writing the runs takes
most of the time, and `--folder` keeps them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from harness.report.leaderboard import leaderboard
from harness.store.compaction import compact, fold
from harness.store.database import query
from harness.store.encoding import encode_metrics, encode_run
from harness.store.writer import DATA_TABLES, Store, attempt_path, open_store
from harness.testing.rows import score, toy_run

METRICS = ("map_at_r", "r_precision", *(f"recall_at_{2**k}" for k in range(10)))
METHODS, FOLDS = 50, 4
PIECE = 500  # runs that one process writes at a time
TARGETS = {  # seconds; "before" compaction is a store as runs and studies leave it, folded
    "leaderboard, folded": 6.0,
    "SQL view, folded": 6.0,
    "leaderboard, compacted": 0.5,
    "SQL view, compacted": 0.5,
}
SQL = "SELECT method, mean, half_width FROM leaderboard WHERE metric = 'map_at_r'"


def write_piece(root: Path, first: int, last: int) -> None:
    """Write runs `first` to `last`, as `write_attempt` does but without fsync."""
    store = Store(root)
    for number in range(first, last):
        seed, cell = divmod(number, METHODS * FOLDS)
        run = toy_run(
            number,
            run_key=f"{number:016x}",
            method=f"method{cell % METHODS}",
            fold=cell // METHODS,
            seed=seed,
        )
        values = [score((number * 7919 + k) % 1000 / 1000, name=n) for k, n in enumerate(METRICS)]
        metrics = encode_metrics(run, values)
        for table, content in (
            ("metrics", metrics),
            ("runs", encode_run(run, {"metrics": hashlib.sha256(metrics).hexdigest()})),
        ):
            path = attempt_path(store, run, table)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def generate(root: Path, runs: int) -> Store:
    """Write a store of this many runs, if it is not there yet."""
    store = open_store(root)
    if not any((root / table).exists() for table in DATA_TABLES):
        firsts = range(0, runs, PIECE)
        lasts = [min(runs, first + PIECE) for first in firsts]
        with ProcessPoolExecutor() as pool:
            list(pool.map(write_piece, [root] * len(lasts), firsts, lasts))
    return store


class Seconds(NamedTuple):
    """Median times of one call, by the clock and by the processors."""

    wall: float
    processor: float


def timed(act: Callable[[], object], rounds: int) -> Seconds:
    """Return the median times of some calls."""
    walls: list[float] = []
    processors: list[float] = []
    for _ in range(rounds):
        start, busy = time.perf_counter(), time.process_time()
        act()
        walls.append(time.perf_counter() - start)
        processors.append(time.process_time() - busy)
    return Seconds(statistics.median(walls), statistics.median(processors))


def measure(store: Store) -> dict[str, Seconds]:
    """Return the seconds of each state of a store, and of getting there."""
    board = partial(leaderboard, store)
    view = partial(query, store, SQL)
    return {
        "leaderboard, single files": timed(board, 1),
        "SQL view, single files": timed(view, 1),
        "folding": timed(partial(fold, store), 1),
        "leaderboard, folded": timed(board, 3),
        "SQL view, folded": timed(view, 3),
        "compaction": timed(partial(compact, store), 1),
        "leaderboard, compacted": timed(board, 3),
        "SQL view, compacted": timed(view, 3),
    }


def main() -> None:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--runs", type=int, default=100_000, help="synthetic runs")
    parser.add_argument("--folder", type=Path, help="keep the store here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = generate(arguments.folder or Path(scratch) / "runs", arguments.runs)
        found = measure(store)
    if arguments.json:
        results = {
            name: {**seconds._asdict(), "target": TARGETS.get(name)}
            for name, seconds in found.items()
        }
        print(json.dumps({"runs": arguments.runs, "metrics": len(METRICS), "seconds": results}))
        return
    for name, seconds in found.items():
        target = f"target {TARGETS[name]} s" if name in TARGETS else ""
        print(f"{name:<28} {seconds.wall:8.2f} s  {seconds.processor:8.2f} s busy  {target}")


if __name__ == "__main__":
    main()
