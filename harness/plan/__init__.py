"""Protocol x method x folds x seeds -> the runs to do; pure, and without torch."""

from harness.plan.contracts import Chosen, Request, Run, Tuning
from harness.plan.feeds import Feed, make_feed
from harness.plan.making import make_plan

__all__ = ["Chosen", "Feed", "Request", "Run", "Tuning", "make_feed", "make_plan"]
