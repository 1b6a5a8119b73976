"""Many runs that belong together: what they are, which are done, and doing the rest.

The way of the data, each call taking what the one before returned; none of it imports torch:

    document.load           file                     -> Study
    cells.cells_of          Study, Registry          -> (Cell, …), the work list
    state.states_of         (Cell, …), Store         -> what the store knows of each
    pool.run_cells          (Cell, …), Pool          -> Tally; one process per run
"""

from harness.study.cells import Cell, cells_of, shard_of
from harness.study.document import Method, Study, load

__all__ = ["Cell", "Method", "Study", "cells_of", "load", "shard_of"]
