import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli import progress
from harness.cli.durations import duration
from harness.cli.live import LiveDisplay
from harness.cli.outcome import exit_code
from harness.cli.progress import PlainLines, event_record, lines_of, values_text
from harness.execute.events import (
    Downloading,
    EpochDone,
    Evaluated,
    PlanStarted,
    RunFailed,
    RunFinished,
    RunSkipped,
    RunStarted,
    Summary,
)
from harness.plan import Request, Run, make_plan
from harness.protocol import load, with_values
from harness.registry import discover
from harness.training.loop import EpochRecord

ROOT = Path(__file__).parents[2]
STORE = Path("runs")
SCORES = {"map_at_r": 0.5, "precision_at_1": 0.75}


@pytest.fixture(scope="module")
def run() -> Run:
    protocol = with_values(load(ROOT / "protocols/digits.yaml"), {"training.epochs": 10})
    return make_plan(protocol, discover(), Request(plugins=("hist",)))[0]


def started(run: Run) -> RunStarted:
    return RunStarted(run, 1, 3, 1000, 5, 900, "cpu", None)


def epoch(run: Run, number: int) -> EpochDone:
    record = EpochRecord(
        epoch=number,
        warmup=False,
        losses={"loss": 1.5},
        learning_rates={},
        steps=10,
        images=400,
        seconds=2.0,
        shares={},
    )
    return EpochDone(run, record, 10, 18.0)


def test_every_event_is_lines_of_text_and_a_json_object(run):
    events = [
        (PlanStarted(3, 1), "3 runs, 1 finished before"),
        (Downloading("net imagenet", 2**20, 2**22), "downloading net imagenet: 1.0 of 4.0 MiB"),
        (Downloading("net imagenet", 2**20, None), "downloading net imagenet: 1.0 MiB"),
        (started(run), "1,000 training images of 5 classes, 900 queries, on cpu"),
        (epoch(run, 2), "epoch 2/10  loss 1.5000  200 images/s  about 18.0 s left"),
        (RunSkipped(run, "finished before"), "hist  fold 0  seed 0: skipped, finished before"),
        (RunFailed(run, "ValueError", "bad", Path("x")), "failed, ValueError: bad"),
    ]
    for event, words in events:
        assert words in "\n".join(lines_of(event, STORE))
        assert json.loads(json.dumps(event_record(event), default=str))["event"]


def test_a_resumed_run_says_where_it_goes_on(run):
    lines = lines_of(replace(started(run), resumed_epoch=4), STORE)

    assert lines[-1].endswith("going on after epoch 4")


def test_epochs_are_lines_only_every_ten_seconds_and_at_the_end(run, monkeypatch, capsys):
    now = iter([100.0, 101.0, 109.9, 110.1, 110.2])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    listener = PlainLines(STORE)

    for number in (1, 2, 3, 4, 10):
        listener(epoch(run, number))

    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["1/10", "4/10", "10/10"]


def test_the_live_display_keeps_one_line_per_run_and_redraws_the_rest(run):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, color_system=None)

    with LiveDisplay(STORE, console) as display:
        display(PlanStarted(2, 0))
        display(Downloading("net imagenet", 2**20, 2**22))
        console.print(display.render())
        display(started(run))
        display(Evaluated(run, 0, "test", SCORES, 0.1))
        display(epoch(run, 4))
        console.print(display.render())
        during = screen.getvalue()
        display(RunFinished(run, SCORES, {}, 10, 75.0, Path("x")))
        display(RunFailed(run, "ValueError", "bad [/] markup", Path("x")))

    kept = screen.getvalue()[len(during) :]
    assert "downloading net imagenet: 1.0 of 4.0 MiB" in during
    assert "epoch 4/10" in during
    assert "loss 1.5000  200 images/s" in during
    assert "test, untrained: map_at_r 0.5000" in during
    assert "✓ hist  fold 0  seed 0  map_at_r 0.5000  precision_at_1 0.7500  1 min 15 s" in kept
    assert "✗ hist  fold 0  seed 0: failed, ValueError: bad [/] markup" in kept


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (4.25, "4.2 s"),
        (75, "1 min 15 s"),
        (3600, "1 h 0 min"),
        (7290, "2 h 1 min"),
        (59.96, "1 min 0 s"),
    ],
)
def test_durations_read_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_a_missing_value_is_a_dash():
    assert values_text({"loss": None, "ce": 0.5}) == "loss -  ce 0.5000"


@pytest.mark.parametrize(
    ("summary", "deviations", "code"),
    [
        pytest.param(Summary(finished=2), (), 0, id="finished"),
        pytest.param(Summary(finished=1, cached=1), (), 0, id="half-cached"),
        pytest.param(Summary(finished=1, failed=1), (), 1, id="failed"),
        pytest.param(Summary(finished=1), (), 1, id="missing"),
        pytest.param(Summary(finished=2), ("head.dim=8",), 3, id="deviates"),
        pytest.param(Summary(finished=1, failed=1), ("head.dim=8",), 1, id="failed-deviation"),
        pytest.param(Summary(finished=1, interrupted=1), (), 130, id="interrupted"),
    ],
)
def test_the_exit_code_says_how_it_ended(run, summary, deviations, code):
    assert exit_code([replace(run, deviations=deviations)] * 2, summary) == code
