"""Protocol x method x folds x seeds -> the runs to do; pure, and without torch."""

from harness.plan.contracts import Chosen, Request, Run
from harness.plan.feeds import Feed, make_feed
from harness.plan.making import make_plan

__all__ = ["Chosen", "Feed", "Request", "Run", "make_feed", "make_plan"]
