"""A study that is killed anywhere, at any moment, ends as one that was left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harness.store.database import query
from harness.store.writer import find_store

COMMAND = ("study", "run", "small", "--jobs", 2, "--threads", 1)
LONGEST = 10.0  # seconds before a kill
VICTIMS = ("driver", "worker", "everything")


def results(folder: Path, store: str) -> list[tuple[object, ...]]:
    """Return every row that counts, but for times."""
    tables = {
        "runs": "SELECT run_key, pair_key, method, fold, seed, status, selected_epoch FROM runs",
        "metrics": "SELECT run_key, part, epoch, name, value, selected FROM metrics",
        "epochs": "SELECT run_key, epoch, steps, images, losses FROM epochs",
        "queries": "SELECT run_key, sample_id, ap_at_r, neighbors FROM queries",
    }
    opened = find_store(folder / store)
    return [
        (name, *row)
        for name, sql in tables.items()
        for row in query(opened, f"{sql} ORDER BY ALL").rows
    ]


def processes(folder: Path) -> list[int]:
    """Return the processes that work in a folder: driver, server, runs."""
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink() == folder:
                found.append(int(process.name))
    return found


def strike(driver: subprocess.Popen[str], folder: Path, victim: str) -> None:
    """Kill -9 the driver, one of its runs, or all."""
    if victim == "driver":
        driver.kill()
    elif victim == "everything":
        for pid in processes(folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    else:
        until = time.monotonic() + 60
        while driver.poll() is None and time.monotonic() < until:
            runs = [pid for pid in processes(folder) if is_group_leader(pid) and pid != driver.pid]
            if runs:
                with suppress(ProcessLookupError):
                    os.kill(runs[0], signal.SIGKILL)
                return


def is_group_leader(pid: int) -> bool:
    with suppress(ProcessLookupError):
        return os.getpgid(pid) == pid
    return False


def finish_under_fire(
    start: Callable[..., subprocess.Popen[str]], folder: Path, *, kills: int
) -> int:
    """Start the study again and again, killing it; return how often it was killed."""
    moments = random.Random(0)  # the same moments in each test run, as far as a clock allows
    struck = completed = 0
    while struck < kills:
        driver = start(*COMMAND, "--store", f"killed{completed}")
        try:
            driver.wait(timeout=moments.uniform(0.1, LONGEST))
        except subprocess.TimeoutExpired:
            victim = VICTIMS[struck % len(VICTIMS)]
            strike(driver, folder, victim)
            struck += 1
            if victim == "worker":  # the driver has to see to it
                driver.wait(timeout=300)
        driver.communicate()
        completed += driver.returncode == 0  # before the kill: begin another
    last = start(*COMMAND, "--store", f"killed{completed}")
    output, _ = last.communicate(timeout=600)
    assert last.returncode == 0, output
    return struck


@pytest.mark.parametrize(
    ("methods", "seeds", "kills"),
    [
        pytest.param("fine", "0-3", 3, id="quick", marks=pytest.mark.slow),
        pytest.param("fine one two three", "0-9", 30, id="forty-runs", marks=pytest.mark.slow),
    ],
)
def test_a_killed_study_ends_as_an_uninterrupted_one(
    start, run, write, folder, methods, seeds, kills
):
    write(methods, seeds)
    assert run(*COMMAND, "--store", "whole").returncode == 0

    struck = finish_under_fire(start, folder, kills=kills)

    assert struck == kills
    expected = results(folder, "whole")
    for store in sorted(folder.glob("killed*")):
        assert results(folder, store.name) == expected
        for path in store.glob("*/*/*.parquet"):
            pq.read_table(path)
    until = time.monotonic() + 30
    while processes(folder):
        assert time.monotonic() < until, "a process is left"
        time.sleep(0.1)
