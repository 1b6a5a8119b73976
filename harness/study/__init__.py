"""Many runs that belong together: what they are, which are done, and doing the rest.

The way of the data, each call taking what the one before returned; none of it imports torch:

    document.load           file                     -> Study
    work.work_of            Study, Registry          -> Work: runs that are known, and searches
    tuning.next_step        a search, Store          -> what it asks for next, from the rows alone
    state.states_of         (Cell, …), Store         -> what the store knows of each run
    pool.run_cells          Work's runs, PoolOptions -> Tally; one process per run (slots)
"""

from harness.study.cells import Cell
from harness.study.document import Method, Study, load
from harness.study.work import Work, work_of

__all__ = ["Cell", "Method", "Study", "Work", "load", "work_of"]
