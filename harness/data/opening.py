"""A data set as it is on this machine."""

from __future__ import annotations

from pathlib import Path

from harness.contracts import DataContext, SampleTable
from harness.specs import DatasetSpec, Params


def open_table(card: DatasetSpec, params: Params, root: Path) -> SampleTable:
    """Return the table of a data set, also where it is no complete copy.

    Args:
        card: What to open.
        params: Of the data set.
        root: The folder of all data sets.

    Raises:
        MissingDataError: It is not there.
        HarnessError: Its files contradict one another; names the file and line.
    """
    if "allow_partial" in type(params).model_fields:
        params = params.model_copy(update={"allow_partial": True})
    table: SampleTable = card.build(params, DataContext(root))
    return table
