"""Replay of numbers that were computed with the authors' code.

A golden file is a JSON list of cases. A case names its method and states parameters, inputs,
expected numbers and a tolerance per dtype. An *adapter*, `(case, dtype) -> numbers`, knows how to
build the method and what to call it with. A plugin registers the adapters of its methods by cards
(`ReplaySpec`, hook `harness_replays`); a registered loss whose cases use its own vocabulary needs
none. What a case expects and no adapter produces is a mismatch, never skipped.

    for case in read_cases(folder):
        assert not replay(case, torch.float64)
"""

from harness.testing.golden.cases import (
    Adapter,
    Case,
    Numbers,
    ReplayError,
    Tolerance,
    read_cases,
)
from harness.testing.golden.comparing import Mismatch, array_difference, compare
from harness.testing.golden.losses import (
    LossAdapter,
    gradients,
    load_state,
    one_evaluation,
    optimizer_steps,
)
from harness.testing.golden.reading import batch_of, leaf, refuse_unknown, tensor, tuples_of
from harness.testing.golden.replaying import Tally, adapter_of, replay, tally

__all__ = [
    "Adapter",
    "Case",
    "LossAdapter",
    "Mismatch",
    "Numbers",
    "ReplayError",
    "Tally",
    "Tolerance",
    "adapter_of",
    "array_difference",
    "batch_of",
    "compare",
    "gradients",
    "leaf",
    "load_state",
    "one_evaluation",
    "optimizer_steps",
    "read_cases",
    "refuse_unknown",
    "replay",
    "tally",
    "tensor",
    "tuples_of",
]
