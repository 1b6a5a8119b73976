"""Are finished runs of the data that is here now?

A run's key names the data set, not its bytes: bytes are known once they are read, and planning
reads none. So whoever skips a finished run compares the digest in its row with the data here.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from harness.contracts import DataContext, SampleTable
from harness.data.splits import data_digest
from harness.errors import HarnessError
from harness.protocol import SplitRule
from harness.specs import DatasetSpec, Params

logger = logging.getLogger(__name__)


class FinishedRun(NamedTuple):
    """What a finished run was trained and tested on.

    Attributes:
        dataset: Its card.
        params: Of the data set.
        rule: Of the split.
        digests: In its rows: of each copy that it has been done with.
    """

    dataset: DatasetSpec
    params: Params
    rule: SplitRule
    digests: frozenset[str]


def warn_of_changes(runs: Iterable[FinishedRun], root: Path) -> None:
    """Log a warning for each data set that finished runs have seen otherwise than it is here.

    Costs a look at each file's times, not its bytes, where `harness data verify` or a run has
    read them. Data that is not here, or is incomplete, contradicts nothing.

    Args:
        runs: That will be skipped.
        root: The folder of all data sets.
    """
    here: dict[tuple[str, str, str], str | None] = {}
    changed: Counter[str] = Counter()
    for run in runs:
        name = run.dataset.name
        key = (name, run.params.model_dump_json(), run.rule.model_dump_json())
        if key not in here:
            here[key] = _digest_here(run, root)
        changed[name] += here[key] not in {None, *run.digests}
    for name, count in sorted(changed.items()):
        if count:
            logger.warning(
                "data set %s in %s is not what %d of the finished runs were done with; "
                "--existing always does them again, and results of both stay apart",
                *(name, root, count),
            )


def _digest_here(run: FinishedRun, root: Path) -> str | None:
    try:
        table: SampleTable = run.dataset.build(run.params, DataContext(root))
        return data_digest(table, run.rule)
    except HarnessError as error:
        logger.info("data set %s is not compared: %s", run.dataset.name, error)
        return None
