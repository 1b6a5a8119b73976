import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from harness import protocol
from harness.contracts import LossParts, Triplets
from harness.errors import HarnessError
from harness.training.learner import make_learner
from harness.training.loop import EpochRecord, epochs_of, fit
from harness.training.meter import CHECK_EVERY, Meter, Stopwatch, TrainingDiverged
from harness.training.step import clip, loss_terms

MOVES_BACKBONE = "encoder.backbone.0.weight"


class Scripted(nn.Module):
    """Give the losses it is told, in order, with a gradient of zero."""

    def __init__(self, values, terms=None):
        super().__init__()
        self.values = iter(values)
        self.terms = terms

    def forward(self, batch, progress):
        loss = batch.embeddings.sum() * 0 + next(self.values)
        return {"extra": loss.detach() * 2, "loss": loss} if self.terms else loss


class Watching(nn.Module):
    """Keep what each step shows."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, batch, progress):
        self.seen.append((batch, progress))
        return batch.embeddings.square().mean()


# --- the loop against a bare one ----------------------------------------------------------------


def bare_loop(learner, batches, *, seed_epoch, warmup=0, clip_norm=None):
    """Train as anybody would write it, for SGD with momentum and StepLR."""
    encoder, loss = learner.encoder, learner.objective
    parameters = [*encoder.parameters(), *loss.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.1)
    for epoch in range(3):
        seed_epoch(0, epoch)
        encoder.backbone.requires_grad_(epoch >= warmup)
        for batch in batches(epoch):
            features, embeddings = encoder(batch.images)
            seen = SimpleNamespace(embeddings=embeddings, labels=batch.labels, features=features)
            value = loss(seen, None)
            optimizer.zero_grad()
            value.backward()
            if clip_norm:
                nn.utils.clip_grad_norm_(encoder.parameters(), clip_norm)
                nn.utils.clip_grad_norm_(loss.parameters(), clip_norm)
            optimizer.step()
        schedule.step()


@pytest.mark.parametrize(
    ("settings", "bare"),
    [
        pytest.param({}, {}, id="plain"),
        pytest.param({"warmup": {"epochs": 1}}, {"warmup": 1}, id="warm-up-inside-the-budget"),
        pytest.param({"clip": {"norm": 0.05}}, {"clip_norm": 0.05}, id="clipped"),
    ],
)
def test_training_equals_a_bare_loop_to_the_last_bit(
    make_toy, toy_batches, state_of, settings, bare
):
    from harness.seeding import seed_global_streams

    schedule = {"every": 2, "gamma": 0.1}
    ours, twin = make_toy(schedule=schedule, **settings), make_toy()

    list(fit(ours, toy_batches, seed=0))
    bare_loop(twin, toy_batches, seed_epoch=seed_global_streams, **bare)

    state = state_of(ours)
    assert all(torch.equal(value, state[name]) for name, value in state_of(twin).items())


def test_draws_between_epochs_change_nothing(make_toy, toy_batches, state_of):
    quiet, disturbed = make_toy(), make_toy()

    list(fit(quiet, toy_batches, seed=0))
    for _ in fit(disturbed, toy_batches, seed=0):
        torch.rand(100)
        disturbed.encoder.eval()
        disturbed.objective.eval()

    expected = state_of(quiet)
    assert all(torch.equal(value, expected[name]) for name, value in state_of(disturbed).items())


def test_seeds_change_the_dropout(make_toy, toy_batches, state_of):
    one, other = make_toy(), make_toy()

    list(fit(one, toy_batches, seed=0))
    list(fit(other, toy_batches, seed=1))

    assert not torch.equal(state_of(one)[MOVES_BACKBONE], state_of(other)[MOVES_BACKBONE])


# --- epochs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("warmup", "expected"),
    [
        # index, number, frozen, epochs of the schedule before it
        pytest.param({}, [(0, 1, False, 0), (1, 2, False, 1), (2, 3, False, 2)], id="none"),
        pytest.param(
            {"epochs": 2},
            [(0, 1, True, 0), (1, 2, True, 1), (2, 3, False, 2)],
            id="inside",
        ),
        pytest.param(
            {"epochs": 2, "inside_budget": False},
            [
                (0, -2, True, 0),
                (1, -1, True, 0),
                (2, 1, False, 0),
                (3, 2, False, 1),
                (4, 3, False, 2),
            ],
            id="outside",
        ),
        pytest.param(
            {"epochs": 9},
            [(0, 1, True, 0), (1, 2, True, 1), (2, 3, True, 2)],
            id="longer-than-the-budget",
        ),
    ],
)
def test_epochs_of_a_training(make_training, warmup, expected):
    epochs = epochs_of(make_training(warmup=warmup))

    assert [(e.index, e.number, e.warmup, e.scheduled) for e in epochs] == expected


def test_a_budget_of_no_epochs_has_no_warm_up_either(make_training):
    assert not epochs_of(make_training(epochs=0, warmup={"epochs": 1, "inside_budget": False}))


@pytest.mark.parametrize(
    ("inside", "rates"),
    [
        pytest.param(True, [8.0, 4.0, 2.0], id="counts-for-the-schedule"),
        pytest.param(False, [8.0, 8.0, 4.0, 2.0], id="comes-before-the-schedule"),
    ],
)
def test_warm_up_trains_head_and_loss_alone(make_toy, toy_batches, state_of, inside, rates):
    learner = make_toy(
        optimizer={"name": "SGD", "lr": 8e-3},
        schedule={"every": 1, "gamma": 0.5},
        warmup={"epochs": 1, "inside_budget": inside},
    )
    training = fit(learner, toy_batches, seed=0)
    before = state_of(learner)

    first = next(training)

    after = state_of(learner)
    assert first.warmup
    assert torch.equal(before[MOVES_BACKBONE], after[MOVES_BACKBONE])
    assert not torch.equal(
        before["encoder.head.linear.weight"], after["encoder.head.linear.weight"]
    )
    assert not torch.equal(before["objective.proxies"], after["objective.proxies"])
    rest = list(training)
    assert not torch.equal(before[MOVES_BACKBONE], state_of(learner)[MOVES_BACKBONE])
    assert not any(record.warmup for record in rest)
    assert [1000 * r.learning_rates["backbone"] for r in [first, *rest]] == pytest.approx(rates)


def test_warm_up_with_steps_of_zero_fills_the_moments_of_a_backbone_that_stays(
    make_toy, toy_batches, state_of
):
    adam = {"name": "AdamW", "lr": 1e-2, "weight_decay": 0.1}
    learner = make_toy(optimizer=adam, warmup={"epochs": 1, "backbone": "lr_0"})
    before = state_of(learner)
    training = fit(learner, toy_batches, seed=0)

    first = next(training)

    after = state_of(learner)
    weight = next(iter(learner.encoder.backbone.parameters()))
    assert first.warmup
    assert first.learning_rates["backbone"] == 0
    assert first.learning_rates["head"] == 1e-2
    assert torch.equal(before[MOVES_BACKBONE], after[MOVES_BACKBONE])
    assert not torch.equal(before["objective.proxies"], after["objective.proxies"])
    assert learner.optimizers.main.state[weight]["exp_avg"].abs().max() > 0
    assert next(training).learning_rates["backbone"] == 1e-2
    assert not torch.equal(before[MOVES_BACKBONE], state_of(learner)[MOVES_BACKBONE])


def test_batches_are_asked_for_by_index_and_training_ends_when_nobody_asks(make_toy, toy_batches):
    asked = []

    def batches(epoch):
        asked.append(epoch)
        return toy_batches(epoch)

    training = fit(make_toy(warmup={"epochs": 1, "inside_budget": False}), batches, seed=0)
    for record in training:
        if record.epoch == 1:
            training.close()

    assert asked == [0, 1]


def test_training_goes_on_after_a_given_epoch(make_toy, toy_batches):
    learner = make_toy(warmup={"epochs": 1, "inside_budget": False})

    after = {
        e: [r.epoch for r in fit(learner, toy_batches, seed=0, after_epoch=e)] for e in (-1, 2)
    }

    assert after == {-1: [1, 2, 3], 2: [3]}


# --- batch normalisation ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "statistics_move", "affine_moves"),
    [
        pytest.param({}, True, True, id="trained"),
        pytest.param({"statistics": "frozen"}, False, True, id="statistics-frozen"),
        pytest.param({"statistics": "frozen", "affine": "frozen"}, False, False, id="all-frozen"),
    ],
)
def test_batch_norm_changes_what_it_may(
    make_toy, toy_batches, state_of, rule, statistics_move, affine_moves
):
    learner = make_toy(batchnorm=rule)
    before = state_of(learner)

    for _ in fit(learner, toy_batches, seed=0):
        learner.encoder.eval()

    after = state_of(learner)
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert ("encoder.backbone.1.running_mean" in moved) == statistics_move
    assert ("encoder.backbone.1.weight" in moved) == affine_moves


# --- what loss and miner see --------------------------------------------------------------------


def test_a_loss_sees_the_batch_and_where_it_is(make_toy, toy_batches):
    loss = Watching()
    learner = make_toy(objective=loss, epochs=2, warmup={"epochs": 1, "inside_budget": False})

    list(fit(learner, toy_batches, seed=0))

    batch, _ = loss.seen[0]
    assert batch.embeddings.shape == (8, 3)
    assert batch.features.shape == (8, 6)
    assert torch.equal(batch.sample_index, torch.arange(8))
    progress = [(p.epoch, p.step, p.total_epochs, p.total_steps) for _, p in loss.seen]
    expected = [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (0, 6), (0, 7), (1, 8), (1, 9)]
    assert progress == [(*where, 2, 12) for where in [*expected, (1, 10), (1, 11)]]


def test_a_miner_selects_without_gradients(make_toy, toy_batches):
    loss = Watching()
    graded = []

    def first_three(batch, progress):
        graded.append((batch.embeddings * 1).requires_grad)
        return Triplets(torch.tensor([0]), torch.tensor([4]), torch.tensor([1]))

    list(fit(make_toy(objective=loss, miner=first_three), toy_batches, seed=0))

    assert not any(graded)
    assert {batch.tuples.positive.item() for batch, _ in loss.seen} == {4}


@pytest.mark.parametrize(
    ("output", "message"),
    [
        pytest.param({"ce": torch.ones(())}, r"\['ce'\], without an entry 'loss'", id="no-loss"),
        pytest.param(torch.ones(3), r"'loss' of the objective is .*3.*not a scalar", id="vector"),
        pytest.param(
            {"loss": torch.ones(()), "n": 3.0}, "'n' of the objective is float", id="float"
        ),
        pytest.param(torch.ones(()), "nothing that is trained", id="constant"),
    ],
)
def test_an_objective_that_breaks_its_contract_is_reported(output, message):
    with pytest.raises(HarnessError, match=message):
        loss_terms(output)


def test_the_loss_comes_first_among_its_terms():
    loss = torch.ones((), requires_grad=True)

    assert list(loss_terms({"b": loss * 2, "loss": loss, "a": loss})) == ["loss", "b", "a"]


# --- records ------------------------------------------------------------------------------------


def test_a_record_holds_means_counts_and_shares(make_toy, toy_batches):
    learner = make_toy(objective=Scripted([1.0, 2.0, 3.0, 6.0], terms=True), epochs=1)

    (record,) = fit(learner, toy_batches, seed=0)

    assert record.losses == {"loss": 3.0, "extra": 6.0}
    assert list(record.losses) == ["loss", "extra"]
    assert (record.epoch, record.steps, record.images) == (1, 4, 32)
    assert record.seconds > 0
    assert list(record.shares) == ["data", "forward", "loss", "step"]
    assert sum(record.shares.values()) == pytest.approx(1)
    assert EpochRecord.from_plain(record.to_plain()) == record


def test_an_epoch_without_batches_is_an_error(make_toy):
    with pytest.raises(HarnessError, match="epoch 1 has no batch") as caught:
        list(fit(make_toy(), lambda epoch: iter(()), seed=0))

    assert "batch_size" in caught.value.hint


def test_time_goes_to_the_phase_that_ends(monkeypatch):
    clock = iter([0.0, 1.0, 3.0, 3.5, 4.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    watch = Stopwatch(torch.device("cpu"))

    for phase in ("data", "forward", "loss", "step"):
        watch.lap(phase)

    assert watch.seconds() == 4
    assert watch.shares() == {"data": 0.25, "forward": 0.5, "loss": 0.125, "step": 0.125}


# --- divergence ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("bad_step", [1, 3, CHECK_EVERY, CHECK_EVERY + 7])
def test_a_loss_that_is_not_finite_ends_training_and_names_the_step(
    make_toy, toy_batches, value, bad_step
):
    steps = CHECK_EVERY + 10
    losses = [1.0] * steps + [1.0] * (bad_step - 1) + [value] + [1.0] * steps
    learner = make_toy(objective=Scripted(losses, terms=True))
    training = fit(learner, lambda epoch: toy_batches(epoch, num_steps=steps), seed=0)
    next(training)

    with pytest.raises(TrainingDiverged, match=f"epoch 2, step {bad_step}: loss = {value:g}") as e:
        next(training)

    assert (e.value.epoch, e.value.step) == (2, bad_step)
    assert list(e.value.terms) == ["loss", "extra"]
    assert e.value.hint


def test_an_error_that_a_nan_caused_is_reported_as_divergence(make_toy, toy_batches):
    class FailsLater(Scripted):
        def forward(self, batch, progress):
            if progress.step == 2:
                raise IndexError("no neighbour found")
            return super().forward(batch, progress)

    broken = make_toy(objective=FailsLater([1.0, 2.0]))
    diverged = make_toy(objective=FailsLater([1.0, math.nan]))

    with pytest.raises(IndexError, match="no neighbour"):
        list(fit(broken, toy_batches, seed=0))
    with pytest.raises(TrainingDiverged, match="epoch 1, step 2"):
        list(fit(diverged, toy_batches, seed=0))


def test_a_term_that_some_batches_leave_undefined_is_averaged_over_the_others():
    meter = Meter(1)

    for loss, margin in [(1.0, math.nan), (3.0, 5.0)]:
        meter.add({"loss": torch.tensor(loss), "margin": torch.tensor(margin)})
    meter.add({"loss": torch.tensor(5.0, dtype=torch.float64), "rare": torch.tensor(7)})

    assert meter.means() == {"loss": 3.0, "margin": 5.0, "rare": 7.0}


# --- clipping and precision ---------------------------------------------------------------------


def with_gradients(learner, encoder, loss):
    for parameter in learner.encoder.parameters():
        parameter.grad = torch.full_like(parameter, encoder)
    for parameter in learner.objective.parameters():
        parameter.grad = torch.full_like(parameter, loss)


def gradients(module):
    return torch.cat([parameter.grad.flatten() for parameter in module.parameters()])


@pytest.mark.parametrize("loss_optimizer", [None, {"name": "SGD", "lr": 0.1}])
def test_clipping_by_norm_treats_encoder_and_loss_apart(make_toy, loss_optimizer):
    learner = make_toy(loss_optimizer=loss_optimizer, groups=[("scale", {"lr": 0.5})])
    with_gradients(learner, 0.001, 100.0)

    clip(learner.optimizers, protocol.Clip(norm=1))

    assert torch.equal(gradients(learner.encoder).unique(), torch.tensor([0.001]))
    assert gradients(learner.objective).norm().item() == pytest.approx(1, rel=1e-4)


def test_clipping_by_value_bounds_each_entry(make_toy):
    learner = make_toy()
    with_gradients(learner, -50.0, 3.0)

    clip(learner.optimizers, protocol.Clip(value=10))

    assert torch.equal(gradients(learner.encoder).unique(), torch.tensor([-10.0]))
    assert torch.equal(gradients(learner.objective).unique(), torch.tensor([3.0]))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_on_a_cpu_reduced_precision_is_float32(make_toy, toy_batches, state_of, precision):
    full, reduced = make_toy(), make_toy(precision=precision)

    list(fit(full, toy_batches, seed=0))
    list(fit(reduced, toy_batches, seed=0))

    expected = state_of(full)
    assert all(torch.equal(value, expected[name]) for name, value in state_of(reduced).items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_on_a_gpu_the_loss_sees_float32_and_time_is_divided(
    make_encoder, make_training, toy_batches, precision
):
    device = torch.device("cuda")
    loss = Watching()
    training = make_training(precision=precision, clip={"norm": 1.0})
    learner = make_learner(make_encoder(), LossParts(loss), training=training, device=device)

    records = list(fit(learner, toy_batches, seed=0))

    assert {(b.embeddings.dtype, b.features.dtype) for b, _ in loss.seen} == {(torch.float32,) * 2}
    assert {p.dtype for p in learner.encoder.parameters()} == {torch.float32}
    assert records[-1].losses["loss"] < records[0].losses["loss"]
    assert sum(records[0].shares.values()) == pytest.approx(1)
