"""Searches of a study: what is asked, in which order, and that rows are all there is."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.protocol import load as load_protocol
from harness.registry import discover
from harness.store.schema import MetricRow
from harness.store.writer import Store, open_store, write_attempt
from harness.study import Cell, load
from harness.study.document import dump
from harness.study.tuning import Tuned, next_step
from harness.study.work import Searches, Work, work_of
from harness.testing.rows import toy_run

ROOT = Path(__file__).parents[2]
STUDY = """\
schema_version: 1
name: small
summary: Two methods.
protocols: [omniglot_small]
methods:
  - {name: hist, plugins: [hist]}
  - {name: far, plugins: [contrastive], space: {loss.neg_margin: {low: 0.1, high: 1}}}
  - {name: held, plugins: [hist], params: {loss.tau: 24}}
  - {name: plain, plugins: [proxy_nca], params: {loss.softmax_scale: 2}}
seeds: 0-1
search: {trials: 4, seeds: 1000-1001}
"""


@pytest.fixture(scope="module")
def registry():
    return discover()


@pytest.fixture(scope="module")
def omniglot():
    return load_protocol(ROOT / "protocols" / "omniglot_small.yaml")


@pytest.fixture
def work(tmp_path, registry, omniglot):
    """Read a study, with words replaced."""

    def go(*changes: tuple[str, str], protocol=omniglot, smoke: bool = False) -> Work:
        text = STUDY
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "small.yaml"
        path.write_text(text)
        return work_of(load(path), registry, [protocol], smoke=smoke)

    return go


@pytest.fixture
def store(tmp_path) -> Store:
    return open_store(tmp_path / "runs")


NUMBERS = count(1)


def end(store: Store, cell: Cell, value: float | None, status: str = "ok") -> None:
    """Write the row that a run leaves, with its value on the validation part."""
    run, tuning = cell.run, cell.run.tuning
    row = toy_run(
        next(NUMBERS),
        run_key=run.key,
        method=run.method,
        settings=dict(run.settings),
        fold=run.fold,
        seed=run.seed,
        status=status,
        leaderboard_eligible=not cell.is_trial,
    )
    if tuning is not None:
        row = replace(
            row,
            search=tuning.search,
            search_metric=tuning.metric,
            trial=tuning.trial,
            num_trials=tuning.num_trials,
        )
    found = MetricRow("val", 2, "map_at_r", 1, value, selected=True)
    write_attempt(store, row, metrics=[found] if value is not None else [])


def worth(cell: Cell) -> float:
    """Return a value that is best where `neg_margin` is 0.6."""
    return 1 - abs(cell.run.loss.params.model_dump().get("neg_margin", 0) - 0.6)


def finish(tuned: Tuned, registry, store: Store) -> list[Cell]:
    """Do the trials of a search, one after the other; return the final runs."""
    while not (step := next_step(tuned, registry, store)).over:
        for cell in step.cells:
            end(store, cell, worth(cell))
    return list(step.cells)


def far(work: Work) -> Tuned:
    return next(tuned for tuned in work.tuned if tuned.method == "far")


def test_the_space_is_the_methods_own_or_what_the_cards_suggest(work):
    spaces = {tuned.method: set(tuned.space) for tuned in work().tuned}

    assert spaces["far"] == {"loss.neg_margin"}
    assert {"loss.tau", "loss.alpha", "loss.lambda_s"} <= spaces["hist"]
    assert spaces["held"] == spaces["hist"] - {"loss.tau"}


def test_a_method_with_nothing_to_search_has_its_final_runs_only(work):
    found = work()

    assert found.untuned == ("plain",)
    assert [cell.run.method for cell in found.cells] == ["proxy_nca[softmax_scale=2]"] * 2
    assert found.num_cells == 2 + 3 * (4 * 2 + 2)


def test_the_first_trial_has_the_values_of_the_start(work, registry):
    step = next_step(far(work()), registry, None)

    assert [(cell.run.seed, cell.run.method) for cell in step.cells] == [
        (1000, "far[trial 0]"), (1001, "far[trial 0]"),
    ]  # fmt: skip
    assert step.cells[0].run.settings == ()


def test_a_search_that_is_cut_short_anywhere_goes_on_as_if_it_was_not(
    work, registry, store, tmp_path
):
    tuned, other = far(work()), open_store(tmp_path / "other")
    finals = finish(tuned, registry, store)

    asked: list[str] = []
    while not (step := next_step(tuned, registry, other)).over:
        first, *rest = step.cells
        end(other, first, None, "interrupted")  # Ctrl-C
        assert [c.run.key for c in next_step(tuned, registry, other).cells] == [
            c.run.key for c in step.cells
        ]
        end(other, first, worth(first))
        again = next_step(tuned, registry, other)  # killed between the two runs of a trial
        assert [c.run.key for c in again.cells] == [c.run.key for c in rest]
        for cell in again.cells:
            end(other, cell, worth(cell))
        asked.append(first.run.key)

    assert [c.run.key for c in step.cells] == [c.run.key for c in finals]
    assert len(set(asked)) == 4


def test_the_final_runs_have_the_best_values_fresh_seeds_and_a_name_of_their_own(
    work, registry, store
):
    tuned = far(work())
    finals = finish(tuned, registry, store)

    step = next_step(tuned, registry, store)
    values = [trial.values["loss.neg_margin"] for trial in step.trials]
    winner = min(values, key=lambda value: abs(value - 0.6))
    assert step.best is not None
    assert step.best.values == {"loss.neg_margin": winner}
    assert [(c.run.method, c.run.seed) for c in finals] == [("far[tuned]", 0), ("far[tuned]", 1)]
    assert {c.run.loss.params.model_dump()["neg_margin"] for c in finals} == {winner}
    assert {c.run.tuning.num_trials for c in finals if c.run.tuning} == {4}


def test_a_run_of_a_search_never_stands_for_another_one(work, registry, store):
    tuned = far(work())
    trials = list(next_step(tuned, registry, None).cells)
    for cell in trials:
        end(store, cell, 0.9)
    no_search = ("search: {trials: 4, seeds: 1000-1001}", "")
    no_space = (", space: {loss.neg_margin: {low: 0.1, high: 1}}", "")
    plain = work(no_search, no_space)
    again = work(("seeds: 0-1\n", "seeds: 1000-1001\n"), no_search, no_space)

    keys = {cell.run.key for cell in (*plain.cells, *again.cells)}

    assert not keys & {cell.run.key for cell in (*trials, *finish(tuned, registry, store))}


def test_a_failed_trial_is_an_answer_and_the_search_goes_on(work, registry, store):
    tuned = far(work())
    first, second = next_step(tuned, registry, store).cells
    end(store, first, 0.99)
    end(store, second, None, "failed")

    finals = finish(tuned, registry, store)

    step = next_step(tuned, registry, store)
    assert [trial.objective is None for trial in step.trials] == [True, False, False, False]
    assert step.best is not None
    assert step.best.number > 0
    assert len(finals) == 2


def test_without_one_good_trial_there_are_no_final_runs(work, registry, store):
    searches = Searches([far(work())], registry, store)
    waiting = searches.begin()
    while waiting:
        end(store, waiting[0], None, "failed")
        waiting = waiting[1:] + searches.after(waiting[0])

    assert [reason for _, reason in searches.skipped] == ["no trial of its search has a value"] * 2


def test_a_trial_that_leaves_no_row_is_not_asked_for_again(work, registry, store):
    searches = Searches([far(work())], registry, store)
    first, second = searches.begin()
    end(store, first, 0.5)

    assert searches.after(first) == []
    assert searches.after(second) == []
    assert [cell.run.key for cell, _ in searches.skipped] == [second.run.key]


def test_trials_that_another_process_does_meanwhile_are_counted(work, registry, store):
    one, other = (Searches([far(work())], registry, store) for _ in range(2))
    first = one.begin()
    assert [cell.run.key for cell in other.begin()] == [cell.run.key for cell in first]
    for cell in first:
        end(store, cell, 0.5)
    second = [cell for ended in first for cell in other.after(ended)]
    for cell in second:
        end(store, cell, 0.4)

    third = [cell for ended in first for cell in one.after(ended)]

    assert [cell.run.method for cell in second] == ["far[trial 1]"] * 2
    assert [cell.run.method for cell in third] == ["far[trial 2]"] * 2
    assert (one.num_ended, other.num_ended) == (2, 0)


def test_more_trials_prolong_a_search_and_make_other_final_runs(work, registry, store):
    short, long = far(work()), far(work(("trials: 4", "trials: 6")))
    finals = finish(short, registry, store)

    step = next_step(long, registry, store)

    assert long.search == short.search
    assert len(step.trials) == 4
    assert [cell.run.method for cell in step.cells] == ["far[trial 4]"] * 2
    later = finish(long, registry, store)
    assert not {c.run.key for c in finals} & {c.run.key for c in later}


def test_another_seed_or_space_is_another_search(work):
    searches = {
        far(work(change)).search
        for change in [
            ("trials: 4", "trials: 4, seed: 1"),
            ("trials: 4", "trials: 4, sampler: random"),
            ("high: 1}", "high: 0.9}"),
            ("trials: 4", "trials: 5"),
        ]
    }

    assert len(searches) == 4


def test_each_trial_can_be_planned_again_from_its_request(work, registry):
    from harness.plan import make_plan

    for cell in next_step(far(work()), registry, None).cells:
        assert [r.key for r in make_plan(cell.protocol, registry, cell.request)] == [cell.run.key]


def test_a_plan_asks_for_nothing(work, registry, store):
    tuned = far(work())
    for cell in next_step(tuned, registry, store).cells:
        end(store, cell, 0.5)

    step = next_step(tuned, registry, store, may_ask=False)

    assert (len(step.trials), step.cells, step.over) == (1, (), False)


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_shards_divide_the_methods(work, number):
    parts = [work().shard(index=index, count=number) for index in range(number)]

    names = [tuned.method for part in parts for tuned in part.tuned]
    names += [cell.method for part in parts for cell in part.cells]
    assert sorted(names) == ["far", "held", "hist", "plain", "plain"]
    assert all(len({cell.method for cell in part.cells}) < 2 for part in parts)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param("seeds: 1000-1001", "seeds: 1", "seed 1 is one of search.seeds too",
                     id="seeds"),
        pytest.param("seeds: 0-1\nsearch: {trials: 4, seeds: 1000-1001}",
                     "search: {trials: 4, seeds: 3}", "seed 3 is one of search.seeds too",
                     id="the protocol's seeds"),
        pytest.param("low: 0.1, high: 1}", "low: 0.1, high: 1000}",
                     "method far: space loss.neg_margin=1000: .*neg_margin", id="range"),
        pytest.param("space: {loss.neg_margin", "space: {training.epochs",
                     "method far: space training.epochs=.*fixes training.epochs", id="closed"),
        pytest.param("space: {loss.neg_margin", "space: {los.tau", "names no field", id="path"),
        pytest.param("search: {trials: 4, seeds: 1000-1001}", "", "has a space, but there is no",
                     id="no search"),
        pytest.param("low: 0.1, high: 1}", "low: 2, high: 1}", "interval from 2 to 1 is empty",
                     id="empty"),
        pytest.param("trials: 4", "trials: 4, sampler: grid", "a grid over loss.tau",
                     id="grid"),
    ],
)  # fmt: skip
def test_a_search_that_cannot_be_done_is_refused_before_anything_runs(
    work, omniglot, old, new, message
):
    protocol = omniglot.model_copy(update={"seeds": (3, 4)})
    with pytest.raises(HarnessError, match=message):
        work((old, new), protocol=protocol)


def test_a_protocol_without_a_validation_part_is_refused(work):
    digits = load_protocol(ROOT / "protocols" / "digits.yaml")

    with pytest.raises(HarnessError, match="selects nothing on a validation part"):
        work(protocol=digits)


def test_a_rehearsal_has_two_trials(work):
    assert {tuned.trials for tuned in work(smoke=True).tuned} == {2}


def test_a_study_with_a_search_reads_back_as_it_was_written(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(STUDY)
    study = load(path)

    path.write_text(dump(study))

    assert load(path) == study


def test_every_interval_on_a_card_can_be_searched(registry, omniglot):
    """Both ends of every interval make a plan, for every loss that needs no miner."""
    from harness.plan import Request, make_plan
    from harness.search import space_of

    for entry in registry.entries("loss"):
        request = Request(plugins=(f"loss:{entry.qualified}",), seeds=(0,))
        try:
            (run,) = make_plan(omniglot, registry, request)
        except HarnessError:
            continue  # it needs a miner
        for path, dimension in space_of(run, {}).items():
            for value in dimension.extremes():
                given = replace(request, settings=(f"{path}={value!r}",))
                assert make_plan(omniglot, registry, given)


def test_two_spaces_of_one_method_can_be_compared(work):
    narrow = (
        "  - {name: near, plugins: [contrastive], space: {loss.pos_margin: {low: 0, high: 1}}}\n"
    )

    found = work(("  - {name: held", narrow + "  - {name: held"))

    assert len({tuned.search for tuned in found.tuned}) == 4


def test_what_a_study_plans_is_its_final_runs(work, omniglot):
    ((_, planned),) = work().planned().items()

    repeats = frozenset({(0, 0), (1, 0)})
    assert planned == {
        "hist[tuned]": repeats,
        "far[tuned]": repeats,
        "held[tuned]": repeats,
        "proxy_nca[softmax_scale=2]": repeats,
    }
