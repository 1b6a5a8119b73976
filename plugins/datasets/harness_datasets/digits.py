"""Handwritten digits of scikit-learn: real images that need no download."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from harness.api import DatasetSpec, MissingDataError, SampleTable

FIRST_TEST_DIGIT = 5
WHITE = 16


def load(card: DatasetSpec) -> SampleTable:
    """Return 1,797 images, 8x8, with the 0-16 of the source spread over 0-255.

    Class ids are the digits, sample ids the rows of scikit-learn's file, which is read here
    because importing scikit-learn for it takes seconds.
    """
    rows = np.loadtxt(
        gzip.decompress(_file(card).read_bytes()).decode().splitlines(), delimiter=","
    )
    label = rows[:, -1].astype(np.int64)
    return SampleTable(
        name=card.name,
        sample_id=np.arange(len(label), dtype=np.int64),
        label=label,
        class_names={digit: str(digit) for digit in range(10)},
        part=np.where(label < FIRST_TEST_DIGIT, "train", "test"),
        images=(rows[:, :-1].reshape(-1, 8, 8) * 255 / WHITE).round().astype(np.uint8),
    )


def _file(card: DatasetSpec) -> Path:
    """Return where scikit-learn keeps the digits, without importing it."""
    spec = find_spec("sklearn")
    assert spec is not None, "a dependency of this distribution is missing"
    assert spec.origin is not None
    file = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if not file.exists():
        raise MissingDataError(
            f"data set {card.name!r}: {file} is missing",
            hint="pip install --force-reinstall scikit-learn",
        )
    return file
