from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import harness
from harness import Batch, HarnessError, Progress
from harness.api import SamplerContext, Triplets
from harness.registry.building import installed

Install = Callable[..., Path]


@pytest.fixture(autouse=True)
def acme(install: Install) -> Iterator[None]:
    install("acme")
    installed.cache_clear()  # what is installed changes in mid-process
    yield
    installed.cache_clear()


def test_one_line_builds_a_loss_that_trains():
    parts = harness.build("loss", "acme_triplet", {"margin": 0.5}, num_classes=2, embedding_dim=2)
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    one = torch.tensor([0]), torch.tensor([1]), torch.tensor([2])
    batch = Batch.of(embeddings, torch.tensor([0, 0, 1]), tuples=Triplets(*one))

    terms = parts.objective(batch, Progress(epoch=0))

    # cos(anchor, negative) = 1, cos(anchor, positive) = 0: 1 - 0 + 0.5
    assert terms["loss"].item() == pytest.approx(1.5)


def test_a_miner_a_sampler_and_a_backbone_are_built_the_same_way():
    miner = harness.build("miner", "acme_every")
    sampler = harness.build(
        "sampler", "acme_blocks", {"m": 2}, labels=np.array([0, 0, 1, 1]), batch_size=4
    )
    backbone = harness.build("backbone", "acme_patches", weights="none")

    tuples = miner(Batch.of(torch.eye(3), torch.tensor([0, 0, 1])), Progress())

    assert [index.tolist() for index in tuples] == [[0, 1], [1, 0], [2, 2]]
    assert [len(rows) for rows in sampler.batches(0)] == [4]
    assert backbone(torch.zeros(5, 1, 28, 28)).shape == (5, 64)


def test_fields_replace_parts_of_a_given_context():
    context = SamplerContext(labels=np.array([0, 0, 1, 1]), batch_size=4)

    sampler = harness.build("sampler", "acme_blocks", {"m": 2}, context, iterations=3)

    assert [len(rows) for rows in sampler.batches(0)] == [4, 4, 4]


@pytest.mark.parametrize(
    ("arguments", "fields", "message"),
    [
        pytest.param(("los", "acme_triplet"), {}, "unknown kind 'los'", id="kind"),
        pytest.param(("loss", "acme_tripled"), {}, "unknown loss 'acme_tripled'", id="name"),
        pytest.param(("loss", "acme_triplet", {"margin": 9}), {}, "9 is more than 2", id="value"),
        pytest.param(
            ("loss", "acme_triplet"), {"num_clases": 3}, "no field 'num_clases'", id="field"
        ),
        pytest.param(
            ("sampler", "acme_blocks"), {}, "needs labels and batch_size", id="field-missing"
        ),
        pytest.param(
            ("loss", "acme_triplet", {}, Progress()), {}, "not from a Progress", id="context"
        ),
    ],
)
def test_a_wrong_call_is_refused(arguments: tuple, fields: dict, message: str):
    with pytest.raises(HarnessError, match=message):
        harness.build(*arguments, **fields)


def test_the_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert harness.__version__ == version("dml-harness")


def test_the_public_names_exist():
    assert all(hasattr(harness, name) for name in harness.__all__)
