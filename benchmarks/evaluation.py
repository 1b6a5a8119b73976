"""Exact evaluation against what people use today, side by side in one process.

Ours is a ranking with everything a run stores: MAP@R, R-precision, P@1, Recall@{1,10,100,1000} and
the per-query table. The other sides:

- calculator: `AccuracyCalculator` of pytorch-metric-learning with faiss, MAP@R, R-precision and
  P@1 only;
- product: one float32 product of the same size, without any selection.

The sides take turns. A ratio is our time over the other side's, the median over the turns; seconds
are medians too. Embeddings are classes with noise. Two cases have no other side: `large_r` is the
peak of our memory where a query has thousands of relevant items, in a process of its own, and
`call` is `from harness.evaluation import evaluate` and one call on 1,000 x 64, in new processes
that have imported torch and find byte code.

Run: `python benchmarks/evaluation.py [--case sop ...] [--scale 0.1] [--json]`. `--json` prints one
object: case -> {"seconds": {side: seconds}, "checks": {what: {"value", "target", "reached"}}}; a
target of null means that none is set.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from torch import Tensor

from harness.evaluation import Embeddings, Ranking, query_rows, rank, retrieval

ROUNDS = 3  # at least, after one to warm up
ENOUGH = 15.0  # seconds, after which no round is added
MOST = 15
LABELS = {"calculator": "ours / calculator", "product": "ours / product"}
CALL = """
import time, torch
values = torch.randn(1000, 64, generator=torch.Generator().manual_seed(0))
labels = torch.arange(1000) // 20
start = time.perf_counter()
from harness.evaluation import evaluate
imported = time.perf_counter()
evaluate(values, labels)
print(imported - start, time.perf_counter() - imported)
"""


class Check(NamedTuple):
    """What was measured, and the most that is allowed."""

    value: float
    target: float | None

    @property
    def reached(self) -> bool | None:
        """Whether the target is; None without one."""
        return None if self.target is None else self.value <= self.target


@dataclass(frozen=True)
class Result:
    """What one case has shown.

    Attributes:
        seconds: Median time of each side.
        checks: What is compared with targets.
        precision_at_1: Of our ranking, as a sign of how hard the problem is.
    """

    seconds: dict[str, float]
    checks: dict[str, Check]
    precision_at_1: float | None = None

    def as_json(self) -> dict[str, object]:
        """Return what `--json` prints."""
        checks = {
            what: {**check._asdict(), "reached": check.reached}
            for what, check in self.checks.items()
        }
        found = {"seconds": self.seconds, "checks": checks}
        return {**found, "precision_at_1": self.precision_at_1}

    def as_text(self) -> str:
        """Return what is printed otherwise."""
        parts = [f"{side} {taken:.3g} s" for side, taken in self.seconds.items()]
        for what, check in self.checks.items():
            verdict = {None: "", True: ", reached", False: ", missed"}[check.reached]
            target = "" if check.target is None else f" (at most {check.target:g}{verdict})"
            parts.append(f"{what} {check.value:.3g}{target}")
        return "   ".join(parts)


@dataclass(frozen=True)
class Case:
    """The size of a problem.

    Attributes:
        queries, gallery, dims, classes: Counts; no gallery means that the queries are it.
        noise: Spread inside a class, in units of the spread of the class centres.
        targets: Largest allowed ratio of our time to another side's, on a CPU.
        gpu_targets: The same on a GPU.
        most_memory: Measure our peak memory instead of times; in GiB above the embeddings.
    """

    queries: int
    dims: int
    classes: int
    noise: float
    gallery: int | None = None
    targets: dict[str, float] = field(default_factory=dict)
    gpu_targets: dict[str, float] = field(default_factory=dict)
    most_memory: float | None = None


SOP = {"calculator": 0.4, "product": 0.55}
CASES = {
    "sop": Case(60_502, 512, 11_316, 2.4, targets=SOP, gpu_targets={"calculator": 0.3}),
    "cub128": Case(5_924, 128, 100, 2.2, targets={"calculator": 0.5}),
    "cub512": Case(5_924, 512, 100, 4.0, targets={"calculator": 0.5}),
    "inshop": Case(14_218, 512, 3_985, 2.4, gallery=12_612, targets={"calculator": 0.8}),
    "large_r": Case(145_000, 512, 17, 4.0, most_memory=4.0),
}


def side(case: Case, count: int, first_id: int, device: torch.device) -> Embeddings:
    """Return normalised embeddings of one side; both sides share the class centres."""
    generator = torch.Generator().manual_seed(7)
    centres = torch.randn(case.classes, case.dims, generator=generator)
    generator.manual_seed(first_id + 1)
    labels = torch.randint(case.classes, (count,), generator=generator)
    noise = torch.randn(count, case.dims, generator=generator)
    values = torch.nn.functional.normalize(centres[labels] + case.noise * noise)
    ids = torch.arange(first_id, first_id + count)
    return Embeddings(values.to(device), labels.to(device), ids.to(device))


def ours(query: Embeddings, gallery: Embeddings | None) -> Ranking:
    """Compute everything that a run stores about retrieval."""
    ranking = rank(query, gallery)
    for metric in (retrieval.map_at_r, retrieval.r_precision, retrieval.precision_at_1):
        metric(ranking)
    for k in (1, 10, 100, 1000):
        retrieval.recall_at_k(ranking, k=k)
    query_rows(ranking)
    return ranking


def calculator(query: Embeddings, gallery: Embeddings | None) -> Callable[[], object] | None:
    """Return the calculator's work, or None where it is not installed."""
    try:
        import faiss  # noqa: F401 - the calculator needs it
        from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    except ImportError:
        return None
    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    device = query.values.device
    work = AccuracyCalculator(include=names, k="max_bin_count", device=device)
    other = () if gallery is None else (gallery.values, gallery.labels)
    return lambda: work.get_accuracy(query.values, query.labels, *other)


def product(query: Embeddings, gallery: Embeddings | None) -> Callable[[], Tensor]:
    """Return one product of the same size."""
    other = query if gallery is None else gallery
    return lambda: query.values @ other.values.T


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def compare(case: Case, scale: float, device: torch.device) -> Result:
    """Let all sides take turns."""
    query, gallery = both_sides(case, scale, device)
    work: dict[str, Callable[[], object]] = {
        "ours": lambda: ours(query, gallery),
        "product": product(query, gallery),
    }
    if (other := calculator(query, gallery)) is not None:
        work["calculator"] = other
    for call in work.values():
        seconds(call, device)
    rounds: list[dict[str, float]] = []
    while len(rounds) < ROUNDS or (
        len(rounds) < MOST and sum(sum(taken.values()) for taken in rounds) < ENOUGH
    ):
        rounds.append({side: seconds(call, device) for side, call in work.items()})
    targets = case.gpu_targets if device.type == "cuda" else case.targets
    checks = {
        LABELS[side]: Check(
            statistics.median(taken["ours"] / taken[side] for taken in rounds), targets.get(side)
        )
        for side in LABELS
        if side in work
    }
    medians = {side: statistics.median(taken[side] for taken in rounds) for side in work}
    return Result(medians, checks, retrieval.precision_at_1(ours(query, gallery)))


def both_sides(
    case: Case, scale: float, device: torch.device
) -> tuple[Embeddings, Embeddings | None]:
    """Return queries and gallery, `scale` times as many."""
    query = side(case, round(case.queries * scale), 0, device)
    if case.gallery is None:
        return query, None
    return query, side(case, round(case.gallery * scale), len(query), device)


def peak(case: Case, scale: float, device: torch.device) -> Result:
    """Return the time, and the most memory in use above the embeddings, in GiB."""
    query, gallery = both_sides(case, scale, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        taken = seconds(lambda: ours(query, gallery), device)
        above = torch.cuda.max_memory_allocated(device) - before
    else:
        before = resident()
        taken = seconds(lambda: ours(query, gallery), device)
        above = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return Result({"ours": taken}, {"peak GiB": Check(above / 2**30, case.most_memory)})


def resident() -> int:
    """Return the bytes of memory in use now; on Linux."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def alone(case: Case, scale: float, device: torch.device) -> Result:
    """Measure the memory of a case in a new process: a peak cannot be reset."""
    start = partial(torch.set_num_threads, torch.get_num_threads())
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=start) as pool:
        return pool.submit(peak, case, scale, device).result()


def first_call() -> Result:
    """Return what importing and calling cost once torch is there."""
    rounds: list[list[float]] = []
    with TemporaryDirectory() as folder:
        kept = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder}
        for _ in range(MOST + 1):
            command = [sys.executable, "-c", CALL]
            text = subprocess.run(  # noqa: S603 - our own words
                command, check=True, capture_output=True, text=True, env=kept
            ).stdout
            rounds.append([float(part) for part in text.split()])
    imported, called = (statistics.median(column) for column in zip(*rounds[1:], strict=True))
    return Result(
        {"import": imported, "call": called},
        {"seconds of both": Check(statistics.median(map(sum, rounds[1:])), 0.02)},
    )


def measure(name: str, scale: float, device: torch.device) -> Result:
    """Measure one case."""
    if name == "call":
        return first_call()
    case = CASES[name]
    return (compare if case.most_memory is None else alone)(case, scale, device)


def main() -> None:
    """Measure the cases asked for and print a line each, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--case", action="append", choices=[*CASES, "call"], help="all of them unless given"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the numbers of rows")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    results: dict[str, Result] = {}
    for name in given.case or [*CASES, "call"]:
        results[name] = measure(name, given.scale, given.device)
        if not given.json:
            print(f"{name:8} {results[name].as_text()}", flush=True)
    if given.json:
        print(json.dumps({name: result.as_json() for name, result in results.items()}))


if __name__ == "__main__":
    main()
