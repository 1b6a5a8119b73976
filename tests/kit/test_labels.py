import pytest
import torch

from harness.errors import HarnessError
from harness.kit.labels import check_labels


@pytest.mark.parametrize("labels", [[], [0], [0, 4, 2]])
def test_labels_in_range_pass(labels: list[int]):
    check_labels(torch.tensor(labels, dtype=torch.int64), 5)


@pytest.mark.parametrize(("labels", "named"), [([0, 5], 5), ([-1, 2], -1), ([9, -3], -3)])
def test_label_out_of_range_is_named(labels: list[int], named: int):
    with pytest.raises(HarnessError, match=rf"label {named} is outside \[0, 5\)"):
        check_labels(torch.tensor(labels), 5)


def test_labels_that_are_not_in_host_memory_are_not_waited_for():
    check_labels(torch.empty(3, dtype=torch.int64, device="meta"), 5)
