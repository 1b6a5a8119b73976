"""Runs of one (seed, fold) share all that two methods can share, whatever the loss."""

from __future__ import annotations

import hashlib
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from harness.execute import ExecutionOptions
from harness.execute.assembly import Assembled, assemble, open_table
from harness.plan import Request, Run, make_plan
from harness.protocol import load, with_values
from harness.registry import discover
from harness.training.encoder import ProtocolHead

ROOT = Path(__file__).parents[2]
BATCHES = 50
LOSSES = sorted(entry.qualified for entry in discover().entries("loss"))


class Shared(NamedTuple):
    """Digests of what two methods share."""

    batches: str
    images: str
    backbone: str
    head: str | None


@pytest.fixture(scope="module")
def shared_by():
    """Return a function that says what a loss shares, the data read once."""
    options = ExecutionOptions(data_root=Path("data"), device="cpu")
    registry = discover()

    @cache
    def table(protocol):
        (run, *_) = make_plan(protocol, registry, Request(plugins=("contrastive",)))
        return open_table(run, options)

    @cache
    def look(protocol, loss: str, *, seed: int = 0) -> Shared:
        plugins = (f"loss:{loss}", *miner_for(registry, loss))
        (run,) = make_plan(protocol, registry, Request(plugins=plugins, seeds=(seed,)))
        torch.manual_seed(len(loss))  # the global stream must not matter
        parts = assemble(run, table(protocol), device=torch.device("cpu"), options=options)
        return digests(run, parts)

    return look


@pytest.mark.parametrize("loss", LOSSES)
def test_methods_with_one_seed_see_the_same_batches_and_begin_with_the_same_weights(
    loss, shared_by, digits
):
    expected, found = shared_by(digits, "contrastive"), shared_by(digits, loss)

    assert found.batches == expected.batches
    assert found.images == expected.images
    assert found.backbone == expected.backbone
    assert found.head in {expected.head, None}


def test_another_seed_shares_none_of_it(shared_by, digits):
    first, second = (shared_by(digits, "contrastive", seed=seed) for seed in (0, 1))

    assert not set(first) & set(second)


def test_most_losses_take_the_head_of_the_protocol(shared_by, digits):
    heads = [shared_by(digits, loss).head for loss in LOSSES]

    assert len(LOSSES) >= 40
    assert heads.count(None) <= 5


@pytest.fixture(scope="module")
def digits():
    """Digits with a head as wide as any loss asks for, 25 batches an epoch."""
    values = {
        "name": "toy",
        "transforms.train": [
            {"step": "resize", "size": 16},
            {"step": "random_affine", "degrees": 10},
        ],
        "training.iterations_per_epoch": 25,
        "training.batch_size": 20,
        "sampler.params.m": 4,
    }
    return with_values(load(ROOT / "protocols" / "digits.yaml"), values)


def miner_for(registry, loss: str) -> tuple[str, ...]:
    card = registry.get("loss", loss).card
    if not card.mining_required:
        return ()
    fitting = [e for e in registry.entries("miner") if e.card.gives in card.takes]
    return (f"miner:{fitting[0].qualified}",)


def digests(run: Run, parts: Assembled) -> Shared:
    sampler, rows = parts.loaders.sampler, parts.split.train
    drawn = chain.from_iterable(sampler.batches(epoch) for epoch in range(BATCHES))
    batches = [parts.table.sample_id[rows[np.asarray(b)]] for b in islice(drawn, BATCHES)]
    assert len(batches) == BATCHES
    first = next(iter(parts.loaders.train(0)))
    encoder = parts.learner.encoder
    return Shared(
        batches=digest([torch.from_numpy(batch) for batch in batches]),
        images=digest([first.sample_index, first.images]),
        backbone=weights(encoder.backbone),
        head=weights(encoder.head) if isinstance(encoder.head, ProtocolHead) else None,
    )


def weights(module: nn.Module) -> str:
    return digest([value for _, value in sorted(module.state_dict().items())])


def digest(tensors: list[torch.Tensor]) -> str:
    content = hashlib.sha256()
    for tensor in tensors:
        content.update(tensor.detach().numpy().tobytes())
    return content.hexdigest()
