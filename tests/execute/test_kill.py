"""A process that is killed at any moment loses nothing that was finished."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harness import protocol

KILLS = 20


def command(file: Path, store: Path) -> list[str]:
    arguments = ["run", str(file), "--plugin", "hist", "--store", str(store), "--device", "cpu"]
    return [sys.executable, "-m", "harness", *arguments]


def measured(store: Path) -> list[tuple[str, int, str, float]]:
    rows = [
        row
        for file in store.glob("metrics/*/*.parquet")
        for row in pq.read_table(file).to_pylist()
    ]
    return sorted((row["part"], row["epoch"], row["name"], row["value"]) for row in rows)


def killed(arguments: list[str], after: float) -> bool:
    """Return whether the process was still alive to be killed after so many seconds."""
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        output, _ = process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return True
    assert process.returncode == 0, output.decode()
    return False


@pytest.mark.slow
def test_twenty_kills_and_a_resume_give_the_bits_of_an_uninterrupted_run(tmp_path, toy):
    file = tmp_path / "toy.yaml"
    values = {"training.epochs": 12, "training.iterations_per_epoch": 10}
    file.write_text(protocol.dump(protocol.with_values(toy(), values)))
    started = time.perf_counter()
    subprocess.run(command(file, tmp_path / "whole"), check=True, capture_output=True)
    whole_seconds = time.perf_counter() - started
    moments = random.Random(0)  # the same moments in each test run, as far as a clock allows

    kills, stores = 0, [tmp_path / "killed0"]
    while kills < KILLS:
        if killed(command(file, stores[-1]), after=moments.uniform(0.3, 1.0) * whole_seconds):
            kills += 1
        else:
            stores.append(tmp_path / f"killed{len(stores)}")
    subprocess.run(command(file, stores[-1]), check=True, capture_output=True)

    for store in stores:
        assert measured(store) == measured(tmp_path / "whole")
        assert len(list((store / "runs").glob("*/*.parquet"))) == 1
        for path in store.glob("*/*/*.parquet"):
            pq.read_table(path)
