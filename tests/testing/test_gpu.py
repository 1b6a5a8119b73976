"""That no loss of ours makes the host wait for the device it computes on."""

from contextlib import nullcontext

import pytest
import torch

from harness.contracts import Progress
from harness.registry import Entry, discover
from harness.testing.conformance.batches import LossTrial, moved, scalar
from harness.testing.conformance.running import waits_for_the_gpu

OURS = [entry for entry in discover().entries("loss") if entry.origin.entry_point != "pml"]
WITHOUT_META = {"hier": "its generator lives where the batch does, and none can be on meta"}


def trial_of(entry: Entry) -> LossTrial:
    return LossTrial(entry.card, entry.card.params.model_validate(entry.card.check_params))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("entry", OURS, ids=lambda entry: entry.name)
def test_no_loss_of_ours_makes_the_host_wait_for_the_gpu(entry: Entry):
    assert waits_for_the_gpu(trial_of(entry)) is None


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(
            entry,
            id=entry.name,
            marks=[pytest.mark.xfail(reason=WITHOUT_META[entry.name], strict=True)]
            if entry.name in WITHOUT_META
            else [],
        )
        for entry in OURS
    ],
)
def test_no_loss_of_ours_looks_at_a_value(entry: Entry, monkeypatch):
    """Tensors on meta have shapes and no values: `item()`, `nonzero()` and `if tensor` fail."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # unknown on meta
    trial = trial_of(entry)
    parts, batch = trial.build(dtype=torch.float32), trial.batch(dtype=torch.float32)
    parts.objective.to("meta")

    loss = scalar(parts.objective(moved(batch, "meta"), Progress()))
    loss.backward()

    assert loss.device.type == "meta"
