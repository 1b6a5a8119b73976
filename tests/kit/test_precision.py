import pytest
import torch

from harness.kit.precision import full_precision

RAISED = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float32: torch.float32,
    torch.float64: torch.float64,
}


@pytest.mark.parametrize("given", RAISED)
def test_products_are_computed_in_single_precision_at_least(given: torch.dtype):
    values = torch.ones(2, 2, dtype=given)

    with torch.autocast("cpu", dtype=torch.bfloat16), full_precision(values) as raised:
        product = raised @ raised

    assert product.dtype == RAISED[given]


def test_autocast_is_in_force_again_afterwards():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with full_precision(torch.ones(1, 1)):
            pass
        after = torch.ones(1, 1) @ torch.ones(1, 1)

    assert after.dtype == torch.bfloat16
