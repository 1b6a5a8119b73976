"""Looking for good values of a method's parameters: where to look, what to try next, what is best.

The way of the data; nothing is remembered between two questions but the rows of the store:

    space.space_of          Run, given          -> {path: Dimension}, the space
    history.read_trials     Store, search id    -> what each trial came to
    asking.ask              space, trials       -> the values of the next trial
    trials.best             trials              -> the trial whose values are kept
"""

from harness.search.space import Dimension, Space, space_of, starts
from harness.search.trials import Trial, best

__all__ = ["Dimension", "Space", "Trial", "best", "space_of", "starts"]
