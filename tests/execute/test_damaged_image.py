"""An image that breaks while a run is on its way."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from harness.execute.events import EpochDone


@pytest.mark.parametrize("workers", [0, 2])
def test_the_run_ends_in_a_row_that_names_the_file(toy, plan, execute, pictures, workers):
    broken = pictures / "train" / "class2" / "1.png"
    over = []

    def damage_after_the_second_epoch(event: object) -> None:
        if isinstance(event, EpochDone):
            over.append(event.record.epoch)
            if over == [1, 2]:
                broken.write_bytes(broken.read_bytes()[:100])

    runs = plan(toy(dataset__name="folder", dataset__params={"path": "pictures"}), "contrastive")
    summary = execute(runs, on_event=damage_after_the_second_epoch, workers=workers, cache=None)

    assert (summary.failed, over) == (1, [1, 2])
    (row,) = pq.read_table(summary.paths[0]).to_pylist()
    assert (row["status"], row["error_type"]) == ("failed", "HarnessError")
    assert f"image {broken} " in row["error_message"]
