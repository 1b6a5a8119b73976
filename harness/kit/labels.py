"""Checks on the labels of a batch.

Shapes: B batch.
"""

from jaxtyping import Int
from torch import Tensor

from harness.errors import HarnessError


def check_labels(labels: Int[Tensor, " b"], num_classes: int) -> None:
    """Refuse labels outside [0, num_classes).

    Only labels in host memory are looked at: on an accelerator the answer would stall the step,
    and indexing with such a label already stops the run there.

    Raises:
        HarnessError: A label is negative or not below `num_classes`.
    """
    if labels.device.type != "cpu" or labels.numel() == 0:
        return
    low, high = (int(value) for value in labels.aminmax())
    if low < 0 or high >= num_classes:
        label = low if low < 0 else high
        raise HarnessError(
            f"label {label} is outside [0, {num_classes})",
            hint="labels are positions in the sorted training classes",
        )
