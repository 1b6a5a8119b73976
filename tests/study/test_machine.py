"""What is divided among runs, and how it is written."""

from __future__ import annotations

import mmap
import os

import pytest

from harness.errors import HarnessError
from harness.study.machine import gpus, num_cpus, parse_bytes, parse_duration, resident_bytes
from harness.study.options import PoolOptions


@pytest.mark.parametrize(
    ("visible", "expected"),
    [("2,3", ("2", "3")), ("", ()), ("-1", ()), ("GPU-a1,MIG-b2", ("GPU-a1", "MIG-b2"))],
)
def test_gpus_are_those_this_process_may_see(visible, expected):
    assert gpus({"CUDA_VISIBLE_DEVICES": visible}) == expected


@pytest.mark.parametrize(
    ("jobs", "device", "slots"),
    [
        pytest.param(None, "auto", ("4", "7"), id="one-per-gpu"),
        pytest.param(3, "cuda", ("4", "7", "4"), id="in-turn"),
        pytest.param(2, "cpu", (None, None), id="none-needed"),
        pytest.param(None, "cpu", (None,), id="one-process"),
        pytest.param(2, "cuda:1", (None, None), id="named"),
    ],
)
def test_slots_share_the_gpus_in_turn(monkeypatch, jobs, device, slots):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")

    assert PoolOptions(jobs=jobs, device=device).slots() == slots


@pytest.mark.parametrize("text", ["", "5 weeks", "-3s", "0", "h"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(HarnessError, match="is no time") as refused:
        parse_duration(text)
    assert "6h" in str(refused.value.hint)


@pytest.mark.parametrize("text", ["", "4", "4 XB", "1KB", "-1GiB"])
def test_what_is_no_memory_is_refused(text):
    with pytest.raises(HarnessError, match="is no amount of memory"):
        parse_bytes(text)


def test_the_memory_of_a_process_counts_what_it_holds():
    before = resident_bytes(os.getpid())
    held = mmap.mmap(-1, 2**26)  # new pages, whatever the process has free
    for page in range(0, len(held), mmap.PAGESIZE):
        held[page] = 1

    grown = resident_bytes(os.getpid()) - before

    assert len(held) * 0.9 < grown < len(held) * 1.5


def test_a_process_that_is_gone_holds_nothing():
    assert resident_bytes(2**22 + 1) == 0


def test_there_is_a_processor():
    assert 1 <= num_cpus() <= (os.cpu_count() or 1)
