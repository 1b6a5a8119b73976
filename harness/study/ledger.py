"""Which runs of a store have ended well, kept up to date while others write to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.store.writer import Store


class Ledger:
    """The keys of finished runs; what was seen once is not read again."""

    def __init__(self, store: Store) -> None:
        """Read what is there now."""
        from harness.store.writer import finished_keys

        self.store = store
        self.seen = self._commits()  # before the rows are read: what comes between is read twice
        self.keys = set(finished_keys(store))
        self.failed = set[str]()  # since then

    def has(self, key: str, *, refresh: bool = False) -> bool:
        """Tell whether a run has ended well, as far as is known or, refreshed, at this moment."""
        if refresh and key not in self.keys:
            self.refresh()
        return key in self.keys

    def has_failed(self, key: str) -> bool:
        """Tell whether somebody has done a run since, and it failed."""
        return key in self.failed

    def add(self, key: str) -> None:
        """Note a run that has ended well just now."""
        self.keys.add(key)

    def wrote(self, attempt_id: str) -> bool:
        """Tell whether an attempt has left a row."""
        return any(path.stem == attempt_id for path in self._commits())

    def refresh(self) -> None:
        """Read the rows that were added since."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        commits = self._commits()
        for path in commits - self.seen:
            try:
                with pq.ParquetFile(path) as file:
                    rows = file.read(columns=["run_key", "status"]).to_pylist()
            except (OSError, pa.ArrowException):
                continue  # compacted away, or damaged: such a run is done again
            self.keys.update(row["run_key"] for row in rows if row["status"] == "ok")
            self.failed.update(row["run_key"] for row in rows if row["status"] == "failed")
        self.seen |= commits

    def _commits(self) -> set[Path]:
        from harness.store.inventory import table_files
        from harness.store.writer import COMMIT

        return set(table_files(self.store, COMMIT))
