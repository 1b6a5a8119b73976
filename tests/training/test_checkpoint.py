import dataclasses
import random

import numpy as np
import pytest
import torch
from torch import nn

from harness.contracts import Triplets
from harness.errors import HarnessError
from harness.training import checkpoint
from harness.training.loop import fit


class RandomMiner(nn.Module):
    """Draw triplets from the global stream and count its calls in a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, batch, progress):
        self.calls += 1
        anchor, positive, negative = torch.randint(8, (3, 1)) + self.calls % 2
        return Triplets(anchor, positive, negative)


class MinedProxies(nn.Module):
    """Give the loss of the toy with a weight that depends on mined tuples and on progress."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, batch, progress):
        weight = 1 + batch.tuples.anchor.float().mean() / 8 + progress.step / 100
        return weight * self.inner(batch, progress)


EVERYTHING = {
    "epochs": 4,
    "schedule": {"every": 2, "gamma": 0.5},
    "loss_optimizer": {"name": "Adam", "lr": 0.01},
}


@pytest.fixture
def make_stateful(make_toy):
    """Return a function that builds a learner whose every part has a state."""

    def make(**settings):
        learner = make_toy(miner=RandomMiner(), **(EVERYTHING | settings))
        return dataclasses.replace(learner, objective=MinedProxies(learner.objective))

    return make


def untimed(records):
    return [dataclasses.replace(r, seconds=0.0, shares={}) for r in records]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


# --- resuming -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cut_after", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="plain"),
        pytest.param({"warmup": {"epochs": 2}}, id="warm-up-inside"),
        pytest.param({"warmup": {"epochs": 2, "inside_budget": False}}, id="warm-up-outside"),
        pytest.param({"loss_optimizer": None, "clip": {"value": 0.01}}, id="one-optimizer"),
    ],
)
def test_a_cut_off_training_ends_like_an_uninterrupted_one_to_the_last_bit(
    make_stateful, toy_batches, state_of, tmp_path, settings, cut_after
):
    file = tmp_path / "checkpoint.pt"
    whole = make_stateful(**settings)
    expected = list(fit(whole, toy_batches, seed=3))
    killed = make_stateful(**settings)
    for count, record in enumerate(fit(killed, toy_batches, seed=3), start=1):
        if count == cut_after:
            payload = {"epoch": record.epoch, "record": record.to_plain()}
            checkpoint.save(file, killed, run_key="k", payload=payload)
        if count > cut_after:
            break  # the work of an unfinished epoch is lost
    torch.manual_seed(99)

    resumed = make_stateful(**settings)
    payload = checkpoint.load(file, resumed, run_key="k")
    rest = list(fit(resumed, toy_batches, seed=3, after_epoch=payload["epoch"]))

    assert untimed(rest) == untimed(expected[cut_after:])
    assert same(state_of(resumed), state_of(whole))
    assert resumed.miner.calls == whole.miner.calls
    assert resumed.counter.steps == whole.counter.steps
    assert torch.equal(resumed.generators[0].get_state(), whole.generators[0].get_state())


def test_the_payload_comes_back_as_it_was(make_toy, tmp_path):
    payload = {"scores": [[1, "val", {"map_at_r": 0.1}]], "none": None, "t": torch.arange(3)}
    learner = make_toy()

    checkpoint.save(tmp_path / "c.pt", learner, run_key="k", payload=payload)

    loaded = checkpoint.load(tmp_path / "c.pt", learner, run_key="k")
    assert torch.equal(loaded.pop("t"), payload.pop("t"))
    assert loaded == payload


def test_a_payload_that_could_not_be_read_is_refused_when_written(make_toy, tmp_path):
    with pytest.raises(AssertionError, match=r"payload\['scores'\]\[1\] is a float64"):
        checkpoint.save(
            tmp_path / "c.pt", make_toy(), run_key="k", payload={"scores": [0.1, np.float64(1)]}
        )

    assert not list(tmp_path.iterdir())


# --- files that cannot be used ------------------------------------------------------------------


@pytest.fixture
def saved(make_toy, toy_batches, tmp_path):
    """Return a checkpoint of a toy after one epoch."""
    file = tmp_path / "checkpoint.pt"
    learner = make_toy()
    next(fit(learner, toy_batches, seed=0))
    checkpoint.save(file, learner, run_key="k", payload={"epoch": 1})
    return file


def test_without_a_file_there_is_nothing_to_go_on_from(make_toy, tmp_path, caplog):
    assert checkpoint.load(tmp_path / "none.pt", make_toy(), run_key="k") is None
    assert not caplog.records


def rewrite(file, **changes):
    torch.save(torch.load(file, weights_only=True) | changes, file)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(lambda f: f.write_bytes(b""), "it is damaged", id="empty"),
        pytest.param(lambda f: f.write_bytes(f.read_bytes()[:-90]), "it is damaged", id="cut"),
        pytest.param(lambda f: f.write_text("hello"), "it is damaged", id="text"),
        pytest.param(lambda f: torch.save([1], f), "it is foreign", id="foreign"),
        pytest.param(lambda f: rewrite(f, format=0), "it has format 0", id="format"),
        pytest.param(lambda f: rewrite(f, run_key="x"), "belongs to run x, not to k", id="key"),
        pytest.param(lambda f: rewrite(f, generators=[]), "holds 0 random", id="generators"),
        pytest.param(lambda f: rewrite(f, optimizers=[]), "other parameter groups", id="groups"),
        pytest.param(lambda f: rewrite(f, modules={}), "it holds", id="modules"),
    ],
)
def test_an_unusable_file_is_left_alone_with_the_reason(
    make_toy, state_of, saved, caplog, spoil, reason
):
    spoil(saved)
    learner = make_toy()
    before = state_of(learner)

    assert checkpoint.load(saved, learner, run_key="k") is None

    assert reason in caplog.text
    assert str(saved) in caplog.text
    assert same(state_of(learner), before)
    assert saved.exists()


def test_a_checkpoint_of_another_objective_changes_nothing(
    make_toy, make_stateful, state_of, saved, caplog
):
    other = make_stateful(loss_optimizer=None)
    other = dataclasses.replace(other, miner=None)
    before = state_of(other)

    assert checkpoint.load(saved, other, run_key="k") is None

    assert "objective and file differ in" in caplog.text
    assert same(state_of(other), before)


def test_a_checkpoint_of_other_shapes_changes_nothing(make_toy, state_of, saved, caplog):
    learner = make_toy()
    learner.objective.average = torch.zeros(5)
    before = state_of(learner)

    assert checkpoint.load(saved, learner, run_key="k") is None

    assert "'average' of shape" in caplog.text
    assert same(state_of(learner), before)


def test_a_flipped_bit_is_noticed_or_harmless(make_toy, state_of, saved):
    whole = saved.read_bytes()
    good = make_toy()
    checkpoint.load(saved, good, run_key="k")
    expected, untouched = state_of(good), state_of(make_toy())
    random.seed(0)
    noticed = 0

    for _ in range(60):
        spoilt = bytearray(whole)
        spoilt[random.randrange(len(whole))] ^= 1 << random.randrange(8)
        saved.write_bytes(spoilt)
        learner = make_toy()
        ignored = checkpoint.load(saved, learner, run_key="k") is None
        noticed += ignored
        assert same(state_of(learner), untouched if ignored else expected)

    assert noticed > 10


# --- writing ------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_file_before_and_nothing_else(
    make_toy, saved, monkeypatch, tmp_path
):
    before = saved.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(HarnessError, match=r"cannot be written.*No space left") as caught:
        checkpoint.save(saved, make_toy(), run_key="k", payload={})

    assert caught.value.hint
    assert saved.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [saved.name]


def test_a_write_cut_off_in_the_middle_is_no_checkpoint(make_toy, saved, tmp_path):
    left = tmp_path / f".{saved.name}.tmp"
    left.write_bytes(saved.read_bytes()[:1000])

    assert checkpoint.load(saved, make_toy(), run_key="k") == {"epoch": 1}

    checkpoint.save(saved, make_toy(), run_key="k", payload={"epoch": 2})
    assert not left.exists()


def test_the_folder_of_a_checkpoint_is_made(make_toy, tmp_path):
    file = tmp_path / "run" / "work" / "checkpoint.pt"

    checkpoint.save(file, make_toy(), run_key="k", payload={})

    assert checkpoint.load(file, make_toy(), run_key="k") == {}


# --- weights ------------------------------------------------------------------------------------


def test_weights_bring_encoder_and_objective_back(make_toy, toy_batches, state_of, tmp_path):
    learner = make_toy()
    training = fit(learner, toy_batches, seed=0)
    next(training)
    best = state_of(learner)
    checkpoint.save_weights(tmp_path / "best-1.pt", learner)
    list(training)

    checkpoint.load_weights(tmp_path / "best-1.pt", learner)

    assert same(state_of(learner), best)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda f: f.unlink(), id="missing"),
        pytest.param(lambda f: f.write_bytes(b"x"), id="damaged"),
        pytest.param(lambda f: torch.save({"a": 1}, f), id="foreign"),
    ],
)
def test_weights_that_cannot_be_read_are_an_error(make_toy, state_of, tmp_path, spoil):
    file = tmp_path / "best-1.pt"
    learner = make_toy()
    checkpoint.save_weights(file, learner)
    spoil(file)

    with pytest.raises(HarnessError, match=r"best-1\.pt cannot be read") as caught:
        checkpoint.load_weights(file, learner)

    assert "run again" in caught.value.hint
