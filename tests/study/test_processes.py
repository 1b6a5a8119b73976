"""One process per run: whatever becomes of it is a row, and the rest of the study is done."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from harness.store.database import query
from harness.store.writer import find_store


def ask(folder: Path, sql: str, store: str = "runs") -> list[tuple[object, ...]]:
    return list(query(find_store(folder / store), sql).rows)


def results(folder: Path, store: str = "runs") -> list[tuple[object, ...]]:
    """Return every row that counts, but for times."""
    runs = "SELECT run_key, pair_key, method, fold, seed, status FROM runs ORDER BY ALL"
    values = "SELECT run_key, part, epoch, name, value, selected FROM metrics ORDER BY ALL"
    nearest = "SELECT run_key, sample_id, ap_at_r, neighbors FROM queries ORDER BY ALL"
    return [row for sql in (runs, values, nearest) for row in ask(folder, sql, store)]


def alive(folder: Path) -> list[str]:
    """Return the command lines of processes whose working folder this is."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def test_each_way_to_end_is_a_row_and_the_rest_is_done(folder, run, write):
    write("raise exit hang nan eat fine", "0")

    ended = run("study", "run", "small", "--jobs", 2, "--timeout", "12s", "--max-memory", "1500MB")

    found = ask(folder, "SELECT params, status, error_type, error_message FROM attempts")
    by_how = {json.loads(row[0])["loss"]["how"]: row[1:] for row in found}
    assert ended.returncode == 1, ended.stdout
    assert len(found) == len(by_how) == 6
    assert by_how["fine"] == ("ok", None, None)
    assert {how for how, row in by_how.items() if row[0] == "failed"} == set(by_how) - {"fine"}
    assert by_how["raise"][1:] == ("ValueError", "a plugin that raises")
    assert by_how["exit"][1] == "ProcessExited"
    assert "exit code 137" in by_how["exit"][2]
    assert by_how["hang"][1:] == ("Timeout", "still running after 12 s")
    assert by_how["nan"][1] == "TrainingDiverged"
    assert by_how["eat"][1] == "OutOfMemory"
    assert "1431 allowed" in by_how["eat"][2]
    logs = folder.glob("runs/work/*/output.txt")
    (log,) = [path for path in logs if path.read_text() == "last words\n"]
    assert str(log) in by_how["exit"][2]
    assert "5 failed" in ended.stdout
    assert alive(folder) == []


@pytest.mark.slow
def test_a_finished_study_is_not_done_again_and_a_failed_run_is(folder, run, write):
    write("raise fine", "0-1")
    run("study", "run", "small", "--jobs", 2)

    again = run("study", "run", "small", "--jobs", 2)
    listed = run("study", "plan", "small", "--json")
    counted = run("study", "status", "small", "--json")

    assert "4 runs, 2 finished before" in again.stdout
    assert len(ask(folder, "FROM attempts")) == 2 + 2 * 2
    states = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [(one["state"], one["reason"]) for one in states] == [
        ("failed", "ValueError: a plugin that raises"), ("finished", ""),
    ] * 2  # fmt: skip
    assert all(one["expected_seconds"] > 0 for one in states)
    first, second = (json.loads(line) for line in counted.stdout.splitlines())
    assert (first["failed"], first["finished"]) == (2, 0)
    assert (second["failed"], second["finished"]) == (0, 2)


@pytest.mark.slow
def test_two_runs_at_a_time_are_the_same_as_one_after_the_other(folder, run, write):
    write("fine", "0-1")

    run("study", "run", "small", "--jobs", 2, "--threads", 1, "--store", "both")
    for seed in range(2):
        words = ("--plugin", "unruly", "--seeds", seed, "--threads", 1, "--store", "single")
        assert run("run", "tiny", *words).returncode == 0

    assert results(folder, "both") == results(folder, "single")


def test_ctrl_c_leaves_interrupted_rows_and_the_study_goes_on_later(folder, start, run, write):
    write("hang fine", "0")
    process = start("study", "run", "small", "--existing", "always", "--jobs", 2)
    wait_for(lambda: any(folder.glob("runs/runs/*/*.parquet")))  # the fine one has ended

    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=300)

    assert process.returncode == 130, output
    assert "interrupted (the same command goes on" in output
    statuses = ask(folder, "SELECT status, error_type FROM attempts ORDER BY status")
    assert statuses == [("interrupted", "KeyboardInterrupt"), ("ok", None)]
    assert alive(folder) == []


@pytest.mark.slow
def test_a_second_ctrl_c_stops_at_once(folder, start, write):
    write("deaf", "0")
    process = start("study", "run", "small")
    wait_for(lambda: any(folder.glob("runs/work/*/output.txt")))
    time.sleep(5)

    process.send_signal(signal.SIGINT)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)

    assert process.returncode == 130
    wait_for(lambda: alive(folder) == [])


@pytest.mark.slow
def test_a_run_that_another_process_is_at_is_left_to_it(folder, start, run, write):
    write("fine", "0-5")

    first, second = (start("worker", "small", "--json") for _ in range(2))
    outputs = [process.communicate(timeout=300)[0] for process in (first, second)]

    assert [first.returncode, second.returncode] == [0, 0], outputs
    (counted,) = ask(folder, "SELECT count(*) FROM runs")[0]
    assert counted == 6
    summaries = [json.loads(output.splitlines()[-1]) for output in outputs]
    assert all(one["finished"] + one["cached"] == 6 for one in summaries)


@pytest.mark.slow
def test_shards_together_are_the_whole(folder, start, run, write):
    write("fine", "0-6")
    run("study", "run", "small", "--store", "whole", "--threads", 1)

    shards = [start("worker", "small", "--shard", f"{i}/4", "--threads", 1) for i in range(4)]
    outputs = [shard.communicate(timeout=300)[0] for shard in shards]

    assert [shard.returncode for shard in shards] == [0, 0, 0, 0], outputs
    assert results(folder) == results(folder, "whole")
    assert len(ask(folder, "FROM attempts")) == 7


def wait_for(happened, seconds: float = 300) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.05)
