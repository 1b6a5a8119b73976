"""Runs from a plan to rows, on real images, small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from harness.contracts import LossParts
from harness.errors import HarnessError, MissingDataError
from harness.execute import EpochDone, Evaluated, PlanStarted, RunFinished, RunSkipped, RunStarted
from harness.specs import LossSpec


def table(store, name):
    files = sorted((store.root / name).glob("*/*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def measured(store, attempt_id=None):
    rows = table(store, "metrics")
    return {
        row["name"]: row["value"]
        for row in rows
        if row["part"] == "test" and row["selected"] and attempt_id in {None, row["attempt_id"]}
    }


def test_a_run_leaves_one_row_with_what_it_was_and_how_it_went(toy, plan, execute, store):
    summary = execute(plan(toy()))

    (row,) = table(store, "runs")
    assert summary.finished == 1
    assert row["status"] == "ok"
    assert (row["protocol"], row["method"], row["fold"], row["seed"]) == ("toy", "hist", 0, 0)
    assert row["leaderboard_eligible"]
    assert row["selected_epoch"] == row["epochs_trained"] == 4
    assert (row["num_train_images"], row["num_queries"], row["num_train_classes"]) == (901, 896, 5)
    assert row["embedding_dim"] == 8
    assert {c["kind"] for c in row["components"]} >= {"loss", "sampler", "backbone", "dataset"}
    assert [e["epoch"] for e in table(store, "epochs")] == [1, 2, 3, 4]
    assert len(table(store, "queries")) == 896


def test_printed_metrics_are_the_means_of_the_per_query_rows(toy, plan, execute, store):
    execute(plan(toy()))

    values, queries = measured(store), table(store, "queries")
    ranks = np.array([q["first_hit_rank"] for q in queries])
    assert values["map_at_r"] == pytest.approx(np.mean([q["ap_at_r"] for q in queries]), abs=1e-12)
    expected = np.mean([q["r_precision"] for q in queries])
    assert values["r_precision"] == pytest.approx(expected, abs=1e-12)
    assert values["precision_at_1"] == pytest.approx(np.mean(ranks == 1), abs=1e-12)
    assert values["recall_at_4"] == pytest.approx(np.mean(ranks <= 4), abs=1e-12)


def test_the_same_run_twice_gives_the_same_bits(toy, plan, execute, store):
    execute(plan(toy()))
    first = measured(store)
    execute(plan(toy()), existing="always")

    attempts = sorted({row["attempt_id"] for row in table(store, "runs")})
    assert len(attempts) == 2
    assert measured(store, attempts[1]) == first == measured(store, attempts[0])


def test_another_seed_gives_another_result_and_the_same_pair_key_for_two_methods(
    toy, plan, execute, store
):
    protocol = toy()
    execute((*plan(protocol, seeds=(0, 1)), *plan(protocol, "pml:contrastive", seeds=(0, 1))))

    rows = table(store, "runs")
    losses = {(e["run_key"], e["epoch"]): e["losses"][0]["value"] for e in table(store, "epochs")}
    hist = [row for row in rows if row["method"] == "hist"]
    assert losses[hist[0]["run_key"], 1] != losses[hist[1]["run_key"], 1]
    pairs = {(row["method"], row["seed"]): row["pair_key"] for row in rows}
    assert pairs["hist", 0] == pairs["contrastive", 0] != pairs["hist", 1]


def test_a_finished_run_is_not_run_again_and_says_so(toy, plan, execute, store):
    execute(plan(toy()))
    events = []

    summary = execute(plan(toy()), on_event=events.append)

    assert (summary.finished, summary.cached) == (0, 1)
    assert [type(event) for event in events] == [PlanStarted, RunSkipped]
    assert len(table(store, "runs")) == 1


def test_existing_never_refuses_before_anything_is_done(toy, plan, execute, store):
    execute(plan(toy()))

    with pytest.raises(HarnessError, match="1 of 1 runs are in the store") as error:
        execute(plan(toy()), existing="never")
    assert "--existing" in error.value.hint


def test_only_cache_runs_nothing(toy, plan, execute, store):
    summary = execute(plan(toy()), existing="only-cache")

    assert summary.finished == summary.cached == 0
    assert table(store, "runs") == []


class Stop:
    """Interrupts a run, as Ctrl-C does, when the n-th epoch is done."""

    def __init__(self, epoch, error=KeyboardInterrupt):
        self.epoch, self.error = epoch, error

    def __call__(self, event):
        if isinstance(event, EpochDone) and event.record.epoch == self.epoch:
            raise self.error


VALIDATED = {
    "split__scheme": "mlrc",
    "split__folds": 2,
    "split__use_folds": 1,
    "selection__rule": "best_val",
    "selection__metric": "map_at_r",
    "training__batch_size": 12,
}


@pytest.mark.parametrize("epoch", [1, 2, 3])
@pytest.mark.parametrize("values", [{}, VALIDATED], ids=["last", "best-val"])
def test_an_interrupted_run_goes_on_to_the_bits_of_an_uninterrupted_one(
    toy, plan, execute, store, epoch, values
):
    protocol = toy(**values)
    execute(plan(protocol))
    (whole,) = table(store, "runs")
    curve = [(e["epoch"], e["losses"]) for e in table(store, "epochs")]

    stopped = execute(plan(protocol), existing="always", on_event=Stop(epoch))
    events = []
    execute(plan(protocol), existing="always", on_event=events.append)

    last = table(store, "runs")[-1]
    assert stopped.interrupted == 1
    assert [row["status"] for row in table(store, "runs")] == ["ok", "interrupted", "ok"]
    assert next(e for e in events if isinstance(e, RunStarted)).resumed_epoch == epoch
    assert measured(store, last["attempt_id"]) == measured(store, whole["attempt_id"])
    assert last["selected_epoch"] == whole["selected_epoch"]
    resumed = [e for e in table(store, "epochs") if e["attempt_id"] == last["attempt_id"]]
    assert [(e["epoch"], e["losses"]) for e in resumed] == curve


def test_no_checkpoint_stays_after_the_rows_are_written(toy, plan, execute, store):
    execute(plan(toy()))

    assert list((store.root / "work").glob("*")) == []


def test_the_selected_epoch_is_the_best_on_validation_and_its_encoder_is_tested(
    toy, plan, execute, store
):
    protocol = toy(**VALIDATED, evaluation__oracle=True)
    execute(plan(protocol))

    (row,) = table(store, "runs")
    metrics = [m for m in table(store, "metrics") if m["name"] == "map_at_r"]
    val = {m["epoch"]: m["value"] for m in metrics if m["part"] == "val" and m["epoch"] > 0}
    test = {m["epoch"]: m["value"] for m in metrics if m["part"] == "test"}
    best = max(val, key=lambda epoch: (val[epoch], -epoch))
    assert row["selected_epoch"] == best
    assert [m["epoch"] for m in metrics if m["part"] == "test" and m["selected"]] == [best]
    assert set(test) == {0, 1, 2, 3, 4}


def test_restored_weights_give_the_test_values_they_had_when_they_were_best(
    toy, plan, execute, store
):
    protocol = toy(**VALIDATED, evaluation__oracle=True)
    events = []
    execute(plan(protocol), on_event=events.append)

    (row,) = table(store, "runs")
    tested = [e for e in events if isinstance(e, Evaluated) and e.part == "test"]
    at_its_epoch, at_the_end = [e.values for e in tested if e.epoch == row["selected_epoch"]]
    assert at_its_epoch == at_the_end


@pytest.mark.parametrize(("untrained", "selected"), [(True, 0), (False, 1)])
def test_the_untrained_encoder_is_selected_only_where_the_protocol_says_so(
    toy, plan, execute, store, untrained, selected
):
    still = {"training__optimizer__lr": 0.0, "training__batchnorm__statistics": "frozen"}
    protocol = toy(**VALIDATED, **still, selection__untrained=untrained)
    execute(plan(protocol, "pml:contrastive"))

    (row,) = table(store, "runs")
    values = {m["epoch"]: m["value"] for m in table(store, "metrics") if m["part"] == "test"}
    assert row["selected_epoch"] == selected
    assert selected in values


def test_a_warm_up_before_the_budget_is_in_the_curve_and_never_selected(toy, plan, execute, store):
    warmup = {"training__warmup__epochs": 2, "training__warmup__inside_budget": False}
    execute(plan(toy(**VALIDATED, **warmup)))

    (row,) = table(store, "runs")
    curve = [(e["epoch"], e["warmup"]) for e in table(store, "epochs")]
    assert curve == [(-2, True), (-1, True), (1, False), (2, False), (3, False), (4, False)]
    assert row["selected_epoch"] >= 1


def test_the_untrained_encoder_is_tested_first_and_reported(toy, plan, execute, store):
    events = []
    execute(plan(toy()), on_event=events.append)

    first = next(e for e in events if isinstance(e, Evaluated))
    done = next(e for e in events if isinstance(e, RunFinished))
    assert (first.epoch, first.part) == (0, "test")
    assert done.untrained == first.values
    rows = [m for m in table(store, "metrics") if m["epoch"] == 0]
    assert {m["name"]: m["value"] for m in rows} == dict(first.values)
    assert not any(m["selected"] for m in rows)


def test_a_budget_of_zero_epochs_tests_the_untrained_encoder(toy, plan, execute, store):
    execute(plan(toy(training__epochs=0)))

    (row,) = table(store, "runs")
    assert (row["epochs_trained"], row["selected_epoch"]) == (0, 0)
    assert set(measured(store)) == {m["name"] for m in table(store, "metrics")}


class Odd(torch.nn.Module):
    """A loss that does something odd after the given number of steps."""

    def __init__(self, at, do):
        super().__init__()
        self.at, self.do, self.calls = at, do, 0

    def forward(self, batch, progress):
        self.calls += 1
        loss = batch.embeddings.square().mean()
        return self.do(loss) if self.calls > self.at else loss


def odd_plan(runs, at, do):
    """Return the plan with its loss replaced by one that fails."""
    card = LossSpec(name="odd", summary="fails", build=lambda params, _: LossParts(Odd(at, do)))
    return tuple(
        replace(run, key=f"odd{index}", loss=replace(run.loss, card=card))
        for index, run in enumerate(runs)
    )


def test_features_rank_by_the_protocols_distance_not_by_the_losss(toy, plan, execute, store):
    def build(_, context):
        from torch import nn

        objective = Odd(at=1, do=lambda loss: loss)
        head = nn.Linear(context.feature_dim, context.embedding_dim)
        return LossParts(objective, head=head, distance=lambda q, g: -torch.cdist(q, g))

    card = LossSpec(name="odd", summary="farthest first", build=build)
    (run,) = plan(toy(evaluation__layer="features", training__epochs=0))
    (other,) = plan(toy(evaluation__layer="embeddings", training__epochs=0))

    execute(tuple(replace(r, loss=replace(r.loss, card=card)) for r in (run, other)))

    rows = {row["run_key"]: row for row in table(store, "runs")}
    found = {row["run_key"]: measured(store, row["attempt_id"]) for row in rows.values()}
    assert (rows[run.key]["embedding_dim"], rows[other.key]["embedding_dim"]) == (64, 8)
    assert found[run.key]["map_at_r"] > 0.3
    assert found[other.key]["map_at_r"] < 0.1  # the farthest digits are others


def nan(loss):
    return loss * float("nan")


def crash(_):
    raise RuntimeError("out of luck\nsecond line")


@pytest.mark.parametrize(
    ("do", "error", "message"),
    [
        pytest.param(nan, "TrainingDiverged", "epoch 2", id="nan-loss"),
        pytest.param(crash, "RuntimeError", "out of luck second line", id="plugin-error"),
    ],
)
def test_a_failure_is_a_row_with_its_reason_and_the_next_run_goes_on(
    toy, plan, execute, store, do, error, message
):
    protocol = toy()
    failing = odd_plan(plan(protocol), at=2, do=do)

    summary = execute((*failing, *plan(protocol)))

    failed, good = table(store, "runs")
    assert (summary.failed, summary.finished) == (1, 1)
    assert (failed["status"], failed["error_type"]) == ("failed", error)
    assert message in failed["error_message"]
    assert "\n" not in failed["error_message"]
    assert not failed["leaderboard_eligible"]
    assert good["status"] == "ok"
    assert {m["attempt_id"] for m in table(store, "metrics")} == {good["attempt_id"]}


def test_a_failed_run_is_tried_again(toy, plan, execute, store):
    failing = odd_plan(plan(toy()), at=2, do=nan)

    execute(failing)
    execute(failing)

    assert [row["status"] for row in table(store, "runs")] == ["failed", "failed"]


def test_fail_fast_stops_after_the_first_failure(toy, plan, execute, store):
    protocol = toy()
    failing = odd_plan(plan(protocol), at=0, do=nan)

    summary = execute((*failing, *plan(protocol)), fail_fast=True)

    assert (summary.failed, summary.finished) == (1, 0)


def test_smoke_and_deviating_runs_stay_off_the_leaderboard(toy, plan, execute, store):
    protocol = toy()

    execute(plan(protocol, smoke=True))
    execute(plan(protocol, deviations=("training.batch_size=10", "sampler.m=2")))

    smoke, deviating = table(store, "runs")
    assert smoke["smoke"]
    assert not smoke["leaderboard_eligible"]
    assert smoke["num_queries"] <= 32
    assert len(deviating["deviations"]) == 2
    assert not deviating["leaderboard_eligible"]
    assert smoke["protocol_digest"] == deviating["protocol_digest"]


def test_missing_data_is_said_before_anything_is_written(toy, plan, execute, store):
    protocol = toy(dataset={"name": "cub200"})

    with pytest.raises(MissingDataError, match=r"cub200|CUB"):
        execute(plan(protocol))

    assert table(store, "runs") == []


def test_a_request_that_cannot_be_built_is_refused_without_a_row(toy, plan, execute, store):
    with pytest.raises(HarnessError, match="a batch of 30 cannot hold exactly 4") as error:
        execute(plan(toy(training__batch_size=30)))

    assert "multiple of sampler.m" in error.value.hint
    assert table(store, "runs") == []
    assert list((store.root / "work").glob("*")) == []


def test_a_later_run_that_cannot_be_built_is_a_failed_row(toy, plan, execute, store):
    wrong = toy(training__batch_size=30)

    summary = execute((*plan(toy()), *plan(wrong)))

    assert (summary.finished, summary.failed) == (1, 1)
    assert sorted(row["status"] for row in table(store, "runs")) == ["failed", "ok"]


def test_a_device_that_is_not_here_is_refused(toy, plan, execute):
    with pytest.raises(HarnessError, match="unknown device 'tpu9'"):
        execute(plan(toy()), device="tpu9")


def test_saved_embeddings_give_the_printed_metrics(toy, plan, execute, store):
    from harness.evaluation import evaluate

    execute(plan(toy()), save_embeddings=True)

    (file,) = (store.root / "embeddings").glob("*/*.npz")
    saved = np.load(file)
    values = evaluate(
        torch.from_numpy(saved["embeddings"]),
        torch.from_numpy(saved["labels"]),
        metrics=("map_at_r", "precision_at_1"),
    )
    expected = measured(store)
    assert values["map_at_r"] == expected["map_at_r"]
    assert values["precision_at_1"] == expected["precision_at_1"]


def test_workers_do_not_change_a_bit(toy, plan, execute, store, tmp_path: Path):
    execute(plan(toy(training__epochs=1)))
    one = measured(store)
    execute(plan(toy(training__epochs=1)), existing="always", workers=2)

    attempts = sorted({row["attempt_id"] for row in table(store, "runs")})
    assert measured(store, attempts[1]) == one
