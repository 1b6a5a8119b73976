"""Exact evaluation against what people use today, side by side in one process.

The other sides are `AccuracyCalculator` of pytorch-metric-learning with faiss (which computes only
MAP@R, R-precision and P@1) and one plain float32 product of the same size (no selection at all).
Ours computes MAP@R, R-precision, P@1, Recall@{1,10,100,1000} and the per-query table. Embeddings
are classes with noise, so that P@1 is near 0.7. Two cases have no other side: `large_r` measures
memory, in a process of its own, and `call` the import and one call of a small problem. Run:
`python benchmarks/evaluation.py [--case sop …] [--scale 0.1] [--json]`; `--json` prints one
object: case -> seconds, ratios and their targets.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

from harness.evaluation import Embeddings, Ranking, query_rows, rank, retrieval

REPEATS = 3
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


@dataclass(frozen=True)
class Case:
    """The size of a problem.

    Attributes:
        queries, gallery, dims, classes: Counts; no gallery means that the queries are it.
        noise: Spread inside a class, in units of the spread of the class centres.
        targets: Largest allowed ratio of our time to each other side's.
        memory: Measure our peak memory instead of times.
    """

    queries: int
    dims: int
    classes: int
    noise: float
    gallery: int | None = None
    targets: tuple[tuple[str, float], ...] = ()
    memory: bool = False


CASES = {
    "sop": Case(60_502, 512, 11_316, 2.4, targets=(("calculator", 0.4), ("product", 0.55))),
    "cub128": Case(5_924, 128, 100, 2.2, targets=(("calculator", 0.5),)),
    "cub512": Case(5_924, 512, 100, 4.0, targets=(("calculator", 0.5),)),
    "inshop": Case(14_218, 512, 3_985, 2.4, gallery=12_612, targets=(("calculator", 0.8),)),
    "small": Case(1_000, 64, 50, 1.2),
    "large_r": Case(145_000, 512, 17, 4.0, memory=True),  # minutes: only when asked for
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


def compare(case: Case, scale: float, device: torch.device) -> dict[str, object]:
    """Return median times of all sides, which take turns, and the ratios of ours to theirs."""
    query, gallery = both_sides(case, scale, device)
    work: dict[str, Callable[[], object]] = {
        "ours": lambda: ours(query, gallery),
        "product": product(query, gallery),
    }
    if (other := calculator(query, gallery)) is not None:
        work["calculator"] = other
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(REPEATS + 1):
        for name, call in work.items():
            times[name].append(seconds(call, device))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    ranking = ours(query, gallery)
    found: dict[str, object] = {f"{name}_seconds": value for name, value in medians.items()}
    for name, target in case.targets:
        if name in medians:
            found[f"ratio_to_{name}"] = medians["ours"] / medians[name]
            found[f"target_{name}"] = target
    found["precision_at_1"] = retrieval.precision_at_1(ranking)
    return found


def both_sides(
    case: Case, scale: float, device: torch.device
) -> tuple[Embeddings, Embeddings | None]:
    """Return queries and gallery, `scale` times as many."""
    query = side(case, round(case.queries * scale), 0, device)
    if case.gallery is None:
        return query, None
    return query, side(case, round(case.gallery * scale), len(query), device)


def peak(case: Case, scale: float, device: torch.device) -> dict[str, object]:
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
    return {"ours_seconds": taken, "peak_gib_above": above / 2**30, "target_gib": 4.0}


def resident() -> int:
    """Return the bytes of memory in use now; on Linux."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def alone(case: Case, scale: float, device: torch.device) -> dict[str, object]:
    """Measure the memory of a case in a new process: a peak cannot be reset."""
    start = partial(torch.set_num_threads, torch.get_num_threads())
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=start) as pool:
        return pool.submit(peak, case, scale, device).result()


def first_call() -> dict[str, object]:
    """Return what importing and calling cost once torch is there, in new processes."""
    pairs: list[list[float]] = []
    for _ in range(REPEATS + 1):
        command = [sys.executable, "-c", CALL]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own words
        pairs.append([float(part) for part in text.split()])
    imported, called = (statistics.median(column) for column in zip(*pairs[1:], strict=True))
    return {"import_seconds": imported, "call_seconds": called, "target_seconds": 0.02}


def main() -> None:
    """Measure the cases asked for and print a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", choices=sorted([*CASES, "call"]))
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the numbers of rows")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    results: dict[str, dict[str, object]] = {}
    for name in given.case or [*(name for name, case in CASES.items() if not case.memory), "call"]:
        if name == "call":
            results[name] = first_call()
        else:
            measure = alone if CASES[name].memory else compare
            results[name] = measure(CASES[name], given.scale, given.device)
        if not given.json:
            facts = (f"{key} {value:.4g}" for key, value in results[name].items())
            print(f"{name:8} " + "  ".join(facts), flush=True)
    if given.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
