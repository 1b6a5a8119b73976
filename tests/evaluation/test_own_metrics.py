"""The core's own retrieval metrics need no plugin to be found."""

import subprocess
import sys

import pytest
import torch

from harness.evaluation import Embeddings, evaluate_embeddings, rank
from harness.evaluation.retrieval import AT_K, PLAIN
from harness.registry import discover

NAMES = [*PLAIN, *(f"{name.removesuffix('k')}7" for name in AT_K)]


@pytest.mark.parametrize("name", NAMES)
def test_they_are_the_registered_ones(name):
    generator = torch.Generator().manual_seed(1)
    items = Embeddings(
        torch.randn(60, 4, generator=generator), torch.arange(60) % 9, torch.arange(60)
    )
    entry, params = discover().metric(name)

    found = evaluate_embeddings(items, metrics=[name])[name]

    assert entry.origin.distribution == "dml-harness"
    assert found == entry.card.build(params, None)(rank(items))


def test_scoring_loads_no_plugin():
    code = (
        "import sys; from harness.evaluation import evaluate;"
        "evaluate([[0.0, 1], [1, 1], [1, 0]], [0, 0, 1]);"
        "print(*sys.modules)"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()

    assert "torch" in loaded
    assert not {"pydantic", "pluggy", "harness.registry"} & set(loaded)
