import json
import re
from pathlib import Path

import pytest

from harness.testing.toys import toy_image

SMOKE = ("run", "digits", "--plugin", "contrastive", "--smoke")


def test_a_run_names_itself_on_stderr_and_answers_on_stdout(rehearsed):
    ended = rehearsed.ended

    first = ended.err.splitlines()[1]
    assert ended.code == 0
    assert first.startswith("digits v1 (")
    assert "  contrastive  fold 0  seed 0  harness-pml==" in first
    assert "store runs" in first
    assert "smoke: never on a leaderboard" in first
    assert "test, untrained: map_at_r 0." in ended.err
    assert "map_at_r" in ended.out.splitlines()[0]
    assert "untrained" in ended.out
    rows, after = ended.out.splitlines()[-2:]
    assert (rehearsed.folder / rows.split()[1]).is_file()
    assert after.startswith("next  harness log ")


def test_the_next_command_that_is_named_works(rehearsed):
    words = rehearsed.ended.out.splitlines()[-1].split()[2:]

    assert rehearsed.harness(*words).code == 0


def test_a_finished_run_is_not_done_again_and_shows_the_same_numbers(rehearsed):
    again = rehearsed.harness(*SMOKE)

    assert again.code == 0
    assert "skipped, finished before" in again.err
    assert "1 finished before" in again.out
    assert again.out.splitlines()[:4] == rehearsed.ended.out.splitlines()[:4]


def test_finished_runs_are_refused_when_none_may_exist(rehearsed):
    ended = rehearsed.harness(*SMOKE, "--existing", "never")

    assert ended.code == 2
    assert "1 of 1 runs are in the store already" in ended.err


def test_runs_that_the_store_lacks_are_missing_when_nothing_may_run(rehearsed):
    ended = rehearsed.harness(*SMOKE, "--seeds", "0,1", "--existing", "only-cache")

    assert ended.code == 1
    assert "seed 1: skipped, not in the store" in ended.err
    assert "1 finished before" in ended.out


def test_plan_tells_finished_runs_from_those_to_do(rehearsed):
    ended = rehearsed.harness("plan", *SMOKE[1:], "--seeds", "0,1")

    states = [line.split()[3:6] for line in ended.out.splitlines()[2:]]
    assert [words[:2] for words in states] == [["0", "finished"], ["1", "to"]]
    assert "takes about" in ended.out
    assert re.fullmatch(r"2 runs, 1 to do, about .* s one by one; store runs\n", ended.err)


def test_a_dry_run_shows_the_plan_and_leaves_nothing(harness, tmp_path: Path):
    before = sorted(tmp_path.rglob("*"))

    ended = harness("run", "mlrc_cub", "--plugin", "hist", "--dry-run")

    assert ended.code == 0
    assert [line.split()[2] for line in ended.out.splitlines()[2:]] == ["0", "1", "2", "3"]
    assert sorted(tmp_path.rglob("*")) == before


def test_json_is_one_object_per_event_and_ends_with_a_summary(harness):
    ended = harness(*SMOKE, "--json")

    events = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.err == ""
    assert all(event["schema_version"] == 1 for event in events)
    assert [event["event"] for event in events] == [
        "plan_started",
        "run_started",
        "evaluated",
        "epoch_done",
        "evaluated",
        "run_finished",
        "summary",
    ]
    assert events[-1]["finished"] == 1
    assert events[-1]["exit_code"] == 0
    assert events[-2]["values"]["map_at_r"] == events[-3]["values"]["map_at_r"]


def test_a_run_that_deviates_says_so_and_ends_with_its_own_code(harness):
    ended = harness(*SMOKE, "--deviate", "head.dim=8")

    assert ended.code == 3
    assert "deviates: head.dim=8" in ended.err


def write_images(folder: Path) -> Path:
    """Write 8 classes of 4 images as a folder data set, and a protocol for it."""
    for label in range(8):
        (folder / "data/mine" / f"class{label}").mkdir(parents=True)
        for number in range(4):
            toy_image(label, number).save(folder / f"data/mine/class{label}/{number}.png")
    text = (folder / "protocols/digits.yaml").read_text()
    for old, new in {
        "name: digits\nversion": "name: mine\nversion",
        "dataset:\n  name: digits": "dataset:\n  name: folder\n  params: {path: mine}",
        "scheme: official": "scheme: half_classes",
        "batch_size: 40": "batch_size: 4",
        "{m: 8}": "{m: 2}",
        "recall_at_2, recall_at_4, recall_at_8": "recall_at_2",
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "mine.yaml").write_text(text)
    return folder / "data/mine"


def test_a_damaged_image_fails_its_run_with_one_line_and_a_row(harness, tmp_path: Path):
    images = write_images(tmp_path)
    (images / "class0/1.png").write_bytes(b"no image at all")

    ended = harness("run", "mine.yaml", "--plugin", "contrastive", "--smoke")

    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert re.search(r"seed 0: failed, HarnessError: .*class0/1.png", ended.err)
    assert "runs  1 failed" in ended.out
    log = harness(*ended.out.splitlines()[-1].split()[2:])
    assert "class0/1.png" in log.out
    assert "traceback.txt" in log.out
    listed = json.loads(harness("runs", "--status", "failed", "--format", "json").out)
    assert len(listed["rows"]) == 1


@pytest.mark.slow
def test_ctrl_c_ends_with_a_row_and_the_code_of_an_interrupt(tmp_path: Path):
    import signal
    import subprocess
    import sys

    protocol = Path(__file__).parents[2] / "protocols/digits.yaml"
    # a shell that starts tests in the background makes its children ignore SIGINT
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heed}; import sys; from harness.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", str(protocol), "--plugin", "contrastive"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    next(line for line in process.stderr if "test, untrained" in line)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "1 interrupted" in out
    assert "Traceback" not in err
    assert len(list(tmp_path.glob("runs/runs/*/*.parquet"))) == 1
