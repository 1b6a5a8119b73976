"""Protocol x method x folds x seeds -> the runs to do; pure, and without torch."""

from harness.plan.contracts import Chosen, Request, Run
from harness.plan.making import make_plan

__all__ = ["Chosen", "Request", "Run", "make_plan"]
