"""Rewrite the answers in the pages, and before that, if stores are named, the shipped sample.

    python docs/refresh_answers.py                           # answers only
    python docs/refresh_answers.py --from runs               # sample and answers
    python docs/refresh_answers.py --from runs --where "protocol = 'omniglot_small'"

The rows of every protocol that a named store holds replace those of the sample; rows of other
protocols stay. Rehearsals are left out, and so are nearest neighbours and, but for the first two
seeds of a method and for trials of searches, the rows of single queries: they would be most of the
bytes.

An answer is what follows a statement in a block `sql`, and what stands between two comments, of
which the first is a `harness leaderboard`.
"""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness.cli.listing import read_work
from harness.registry import discover
from harness.report.boards import render_leaderboard
from harness.report.leaderboard import leaderboard
from harness.report.tables import render
from harness.settings import SAMPLE_STORE
from harness.store.compaction import publish_segment
from harness.store.database import query
from harness.store.export import export
from harness.store.schema import TABLES
from harness.store.segments import current_generation
from harness.store.writer import Store, find_store, open_store

PAGES = tuple(Path(__file__).with_name(name) for name in ("sql.md", "reality_check.md"))
MOST_BYTES = 1_500_000
QUERIES_OF = """
    SELECT attempt_id FROM runs WHERE protocol <> 'digits' AND trial IS NULL
    QUALIFY dense_rank() OVER (PARTITION BY protocol, method ORDER BY seed) <= 2
"""  # runs whose single queries are kept
_BOARD = re.compile(
    r"(<!-- harness leaderboard --sample --study (?P<study>\S+) --format md -->).*?(?=<!-- -->)",
    re.DOTALL,
)
_ANSWERED = re.compile(r"(```sql\n(?P<sql>.*?)```\n)(?:\n(?:\|[^\n]*\n)+)?", re.DOTALL)


def rewritten(page: str, store: Store) -> str:
    """Return the page with the answer of the store below each of its statements."""
    page = _ANSWERED.sub(lambda found: f"{found[1]}\n{answer(store, found['sql'])}\n", page)
    return _BOARD.sub(lambda found: f"{found[1]}\n\n{board(store, found['study'])}\n\n", page)


def answer(store: Store, sql: str) -> str:
    """Return the answer to a statement as a table of Markdown."""
    return render(query(store, sql), "md")


def board(store: Store, study: str) -> str:
    """Return the leaderboard of a study as Markdown."""
    planned = read_work(study, discover(), smoke=False).planned()
    return render_leaderboard(leaderboard(store, planned=planned), "md")


def refresh(sample: Path, sources: Sequence[Path], where: str) -> None:
    """Replace the rows of the sample that the sources have as well."""
    with tempfile.TemporaryDirectory() as scratch:
        parts = [Path(scratch) / str(number) for number in range(len(sources) + 1)]
        for source, part in zip(sources, parts, strict=False):
            export(find_store(source), part, where=f"NOT smoke AND ({where})")
        kept = _others(parts[:-1], sample, parts[-1])
        merged = _merged(parts[:-1] + kept, Path(scratch) / "merged")
        shutil.rmtree(sample, ignore_errors=True)
        shutil.copytree(merged.root, sample)
    size = sum(path.stat().st_size for path in sample.rglob("*") if path.is_file())
    print(f"{sample}: {size:,} bytes")
    if size > MOST_BYTES:
        raise SystemExit(f"more than {MOST_BYTES:,}: keep fewer runs with --where")


def _others(parts: Sequence[Path], sample: Path, folder: Path) -> list[Path]:
    """Export what the sample has of protocols that no part has."""
    if not sample.exists():
        return []
    sql = "SELECT DISTINCT protocol FROM runs"
    new = {str(name) for part in parts for (name,) in query(find_store(part), sql).rows}
    old = {str(name) for (name,) in query(find_store(sample), sql).rows}
    if not old - new:
        return []
    names = ", ".join(f"'{name}'" for name in sorted(old - new))
    export(find_store(sample), folder, where=f"protocol IN ({names})")
    return [folder]


def _merged(parts: Sequence[Path], folder: Path) -> Store:
    """Write one store with the rows of several, and the single queries of few runs."""
    stores = [find_store(part) for part in parts]
    tables = {table: pa.concat_tables(_tables(stores, table)) for table in TABLES}
    attempts = [attempt for store in stores for (attempt,) in query(store, QUERIES_OF).rows]
    kept = pc.is_in(tables["queries"]["attempt_id"], pa.array(attempts, pa.string()))
    tables["queries"] = tables["queries"].filter(kept)
    merged = open_store(folder)
    publish_segment(merged, tables)
    for part in parts:
        shutil.copytree(part / "protocols", folder / "protocols", dirs_exist_ok=True)
    return merged


def _tables(stores: Sequence[Store], table: str) -> Iterator[pa.Table]:
    for store in stores:
        for path in current_generation(store).paths(store, table):
            yield pq.read_table(path)


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--from", dest="sources", type=Path, action="append", default=[], help="a run store"
    )
    parser.add_argument("--where", default="true", help="SQL over the view runs: which to take")
    arguments = parser.parse_args()
    if arguments.sources:
        refresh(SAMPLE_STORE, arguments.sources, arguments.where)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        page.write_text(rewritten(text, find_store(SAMPLE_STORE)), encoding="utf-8")


if __name__ == "__main__":
    main()
