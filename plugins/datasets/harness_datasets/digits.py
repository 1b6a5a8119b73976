"""Handwritten digits of scikit-learn: real images that need no download."""

from __future__ import annotations

import numpy as np

from harness.api import SampleTable

FIRST_TEST_DIGIT = 5


def load() -> SampleTable:
    """Return 1,797 images, 8x8, with the 0-16 of the source spread over 0-255.

    Class ids are the digits, sample ids the rows of `load_digits`.
    """
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    label = np.asarray(digits, dtype=np.int64)
    return SampleTable(
        name="digits",
        sample_id=np.arange(len(label), dtype=np.int64),
        label=label,
        class_names={digit: str(digit) for digit in range(10)},
        part=np.where(label < FIRST_TEST_DIGIT, "train", "test"),
        images=(np.reshape(pixels, (-1, 8, 8)) * 255 / 16).round().astype(np.uint8),
    )
