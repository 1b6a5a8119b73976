"""Every case of every golden file, in both precisions.

The folder is this one, or $HARNESS_GOLDENS.
"""

import os
from pathlib import Path

import pytest
import torch

from harness.testing.golden import Case, read_cases, replay

FOLDER = Path(os.environ.get("HARNESS_GOLDENS") or Path(__file__).parent)
CASES = [
    pytest.param(case, id=f"{case.file.removesuffix('.json')}-{case.case_id}")
    for case in read_cases(FOLDER)
]


@pytest.mark.golden
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES)
def test_authors_numbers_are_reproduced(case: Case, dtype: torch.dtype):
    mismatches = replay(case, dtype)

    assert not mismatches, "\n".join(map(str, mismatches))
