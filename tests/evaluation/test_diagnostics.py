"""How embeddings lie in space, on points whose numbers fit in the head."""

import math

import pytest
import torch

from harness.errors import HarnessError
from harness.evaluation import Embeddings, diagnostics, rank


def ranking(values: list[list[float]], labels: list[int]):
    return rank(
        Embeddings(torch.tensor(values).float(), torch.tensor(labels), torch.arange(len(labels)))
    )


def test_a_class_of_one_is_left_out_of_intra_class_distance():
    pair_and_lone = ranking([[1, 0], [0, 1], [-1, 0]], [0, 0, 1])

    found = diagnostics.intra_class_distance(pair_and_lone)

    assert found == pytest.approx(
        1
    )  # a right angle; the authors' code borrows a value for class 1


def test_spectra_leave_values_out_at_both_ends():
    values = torch.diag(torch.tensor([8.0, 4.0, 2.0, 1.0]))

    found = diagnostics.spectrum(values, leave_out=1, leave_out_smallest=1)

    assert found.tolist() == pytest.approx([2 / 3, 1 / 3])


def test_the_published_decay_leaves_out_the_largest_and_the_smallest():
    found = diagnostics.rdml_spectral_decay(
        ranking([[8, 0, 0, 0], [0, 4, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]], [0, 0, 1, 1])
    )

    assert found == pytest.approx(-(math.log(4 / 3) + math.log(2 / 3)) / 2)


def test_a_spectrum_of_nothing_is_refused():
    with pytest.raises(HarnessError, match="of 2 singular values none is left"):
        diagnostics.spectrum(torch.eye(2), leave_out=1, leave_out_smallest=1)
