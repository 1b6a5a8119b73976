"""One run from seed to rows, and many runs one after another.

The way of the data, each call taking what the one before returned:

    assembly.open_table     Run                      -> SampleTable
    assembly.assemble       Run, SampleTable         -> Assembled (split, loaders, learner, …)
    single.train            Assembled, History       -> History (records and scores by epoch)
    single.run_one          History                  -> Result (selected epoch, test ranking)
    rows.attempt_rows       Run, Result              -> rows
    many.run_all            (Run, …)                 -> Summary; rows are in the store
"""

from harness.execute.events import (
    Downloading,
    EpochDone,
    Evaluated,
    Event,
    ExecutionOptions,
    Existing,
    PlanStarted,
    RunFailed,
    RunFinished,
    RunSkipped,
    RunStarted,
    Summary,
)
from harness.execute.many import run_all

__all__ = [
    "Downloading",
    "EpochDone",
    "Evaluated",
    "Event",
    "ExecutionOptions",
    "Existing",
    "PlanStarted",
    "RunFailed",
    "RunFinished",
    "RunSkipped",
    "RunStarted",
    "Summary",
    "run_all",
]
