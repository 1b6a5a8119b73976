"""What papers print for a method of a board."""

from __future__ import annotations

from harness.report.cells import Group
from harness.report.outcomes import Outcomes
from harness.store.published import Published, published_numbers

_SAME = {"precision_at_1": "recall_at_1"}  # one metric with two names


def beside(group: Group, runs: Outcomes) -> tuple[Published, ...]:
    """Return the published numbers of the same protocol, loss, miner, backbone and metric.

    Parameters are not compared: a paper's own are seldom all known.
    """
    loss, miner, backbone = (runs.text(name) for name in ("loss", "miner", "backbone"))
    return tuple(
        number
        for number in published_numbers()
        if number.harness_protocol == group.protocol
        and _name(number.metric) == _name(group.metric)
        and (number.harness_loss, number.harness_miner) == (loss, miner)
        and number.harness_backbone == backbone
    )


def _name(metric: str) -> str:
    return _SAME.get(metric, metric)
