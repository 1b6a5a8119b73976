"""Time of our losses and miners against the classes of pytorch-metric-learning that they equal.

B = 128 embeddings of 512 numbers, 100 and 11,318 classes; forward and backward, gradients of
embeddings and of all weights. Both sides see the same batch and the same tuples in one process and
take turns; the ratio is the median over rounds of neighbours in time. The last column is the ratio
of processor time, steadier on a machine that does other work. A ratio is ours over theirs.
Run: `python benchmarks/losses.py [--json] [--only NAME]`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from loss_pairs import FEW, PAIRS, Pair
from pytorch_metric_learning import losses, miners
from torch import Tensor, nn

import harness
from harness.api import Batch, BuildContext, Pairs, Progress, Triplets
from harness.kit.pairs import all_pairs

BATCH_SIZE, EMBEDDING_DIM, PER_CLASS = 128, 512, 4
MANY = 11_318
LONGEST_ROUND = 0.05  # seconds of one side before the other takes its turn

Work = Callable[[], object]


# --- inputs -------------------------------------------------------------------------------------


def batch_of(num_classes: int, tuples: str, generator: torch.Generator) -> Batch:
    """Return 32 classes of 4 images each, and what a miner would select."""
    classes = torch.randperm(num_classes, generator=generator)[: BATCH_SIZE // PER_CLASS]
    labels = classes.repeat_interleave(PER_CLASS)
    embeddings = nn.functional.normalize(
        torch.randn(BATCH_SIZE, EMBEDDING_DIM, generator=generator)
    )
    found = {"none": lambda _: None, "triplets": one_each, "pairs": one_positive_each}[tuples]
    return Batch(embeddings.requires_grad_(), labels, tuples=found(labels))


def one_each(labels: Tensor) -> Triplets:
    """Return one triplet for each image."""
    anchor = torch.arange(len(labels))
    first = anchor - anchor % PER_CLASS
    positive = first + (anchor + 1) % PER_CLASS
    return Triplets(anchor, positive, (anchor + PER_CLASS) % len(labels))


def one_positive_each(labels: Tensor) -> Pairs:
    """Return one positive and all negatives of each image."""
    some, every = one_each(labels), all_pairs(labels)
    return Pairs(some.anchor, some.positive, every.anchor_negative, every.negative)


def our_work(pair: Pair, batch: Batch, num_classes: int) -> Work:
    """Return a function that runs our loss forward and backward."""
    parts = harness.build(
        "loss",
        pair.ours,
        dict(pair.params),
        num_classes=num_classes,
        embedding_dim=EMBEDDING_DIM,
        feature_dim=EMBEDDING_DIM,
        generator=torch.Generator().manual_seed(0),
    )

    def value() -> Tensor:
        terms = parts.objective(batch, Progress())
        return terms["loss"] if isinstance(terms, Mapping) else terms

    return stepping(value, batch, parts.objective)


def their_work(pair: Pair, batch: Batch, num_classes: int) -> Work:
    """Return a function that runs the class forward and backward."""
    arguments = dict(pair.arguments)
    if pair.weights:
        arguments |= {"num_classes": num_classes, "embedding_size": EMBEDDING_DIM}
    loss = getattr(losses, pair.theirs)(**arguments)
    summands = [loss]
    if pair.also is not None:
        name, more = pair.also
        summands.append(getattr(losses, name)(**more))
    tuples = None if batch.tuples is None else tuple(batch.tuples)

    def value() -> Tensor:
        return torch.stack([one(batch.embeddings, batch.labels, tuples) for one in summands]).sum()

    return stepping(value, batch, loss)


def stepping(value: Callable[[], Tensor], batch: Batch, module: nn.Module) -> Work:
    """Return a function that computes a loss and every gradient of it."""
    leaves = [batch.embeddings, *module.parameters()]

    def step() -> None:
        for leaf in leaves:
            leaf.grad = None
        value().backward()

    return step


# --- measuring ----------------------------------------------------------------------------------


def compare(ours: Work, theirs: Work, *, rounds: int) -> dict[str, float]:
    """Return milliseconds of both sides and the median ratios of rounds in turns."""
    sides = {"ours": ours, "theirs": theirs}
    repeats = {name: repeats_of(work) for name, work in sides.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in sorted(sides, reverse=bool(number % 2)):
            wall, processor = time.perf_counter(), time.process_time()
            for _ in range(repeats[name]):
                sides[name]()
            count = repeats[name]
            spent = time.perf_counter() - wall, time.process_time() - processor
            times[name].append((spent[0] / count, spent[1] / count))
    couples = list(zip(times["ours"], times["theirs"], strict=True))
    return {
        "ours_ms": 1e3 * statistics.median(wall for wall, _ in times["ours"]),
        "theirs_ms": 1e3 * statistics.median(wall for wall, _ in times["theirs"]),
        "ratio": statistics.median(a[0] / b[0] for a, b in couples),
        "processor_time_ratio": statistics.median(a[1] / b[1] for a, b in couples),
    }


def repeats_of(work: Work) -> int:
    """Return how often work fits into one turn, after a warm-up."""
    for _ in range(3):
        start = time.perf_counter()
        work()
    return max(1, int(LONGEST_ROUND / (time.perf_counter() - start)))


def loss_rows(pairs: Sequence[Pair], *, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield one row per pair and number of classes."""
    for pair in pairs:
        for num_classes in (FEW, MANY) if pair.weights else (FEW,):
            batch = batch_of(num_classes, pair.tuples, torch.Generator().manual_seed(1))
            sides = (make(pair, batch, num_classes) for make in (our_work, their_work))
            measured = compare(*sides, rounds=rounds)
            facts = {"ours": pair.ours, "theirs": pair.theirs, "num_classes": num_classes}
            yield {**facts, **measured}


def miner_rows(*, rounds: int) -> list[dict[str, Any]]:
    """Return our distance-weighted miner beside theirs, at the batch of its paper's benchmark."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.arange(56).repeat_interleave(2)
    embeddings = nn.functional.normalize(torch.randn(112, 128, generator=generator))
    batch = Batch(embeddings, labels)
    mine = harness.build(
        "miner", "rdml_distance", context=BuildContext(56, 128, generator=generator)
    )
    other = miners.DistanceWeightedMiner(cutoff=0.5, nonzero_loss_cutoff=1.4)
    measured = compare(
        lambda: mine(batch, Progress()), lambda: other(embeddings, labels), rounds=rounds
    )
    return [{"ours": "rdml_distance", "theirs": "DistanceWeightedMiner", **measured}]


# --- memory -------------------------------------------------------------------------------------


def hier_step(batch_size: int, num_proxies: int, dim: int) -> Work:
    """Return HIER's whole loss, forward and backward."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(batch_size // 2).repeat_interleave(2)
    features = torch.randn(batch_size, dim, generator=generator)
    parts = harness.build(
        "loss",
        "hier",
        {"num_proxies": num_proxies},
        num_classes=len(labels) // 2,
        embedding_dim=dim,
        feature_dim=dim,
        generator=generator,
    )
    head = parts.head or nn.Identity()
    embeddings = head(features).detach().requires_grad_()
    batch = Batch(embeddings, labels, features)
    return stepping(lambda: parts.objective(batch, Progress())["loss"], batch, parts.objective)


def print_hier_memory() -> None:
    """Print by how many MiB one step raises the memory of this process at its peak; Linux only."""
    hier_step(8, 16, 16)()  # loads what any step needs
    step = hier_step(180, 512, 128)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is the present size again
    before = resident("VmRSS")
    step()
    print((resident("VmHWM") - before) / 1024)


def resident(name: str) -> int:
    """Return a line of this process's status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def hier_memory() -> dict[str, float]:
    """Measure HIER's memory in a process of its own, whose peak nothing else has raised."""
    command = [sys.executable, __file__, "--print-hier-memory"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return {"peak_mib_above_inputs": float(done.stdout), "limit_mib": 200.0}


def main() -> None:
    """Measure everything and print a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each side")
    parser.add_argument("--threads", type=int, default=2, help="of torch; 1 where others compute")
    parser.add_argument("--only", help="one loss of ours, and neither miners nor memory")
    parser.add_argument("--print-hier-memory", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.print_hier_memory:
        print_hier_memory()
        return
    torch.set_num_threads(arguments.threads)
    report: dict[str, Any] = {"torch": torch.__version__, "threads": arguments.threads}
    report |= measured(arguments.only, rounds=arguments.rounds, show=not arguments.json)
    if arguments.json:
        print(json.dumps(report, indent=2))


def measured(only: str | None, *, rounds: int, show: bool) -> dict[str, Any]:
    """Return all rows, or those of one loss; `show` prints each as soon as it is known."""
    report: dict[str, Any] = {"losses": [], "miners": []}
    for row in loss_rows([pair for pair in PAIRS if only in {None, pair.ours}], rounds=rounds):
        report["losses"].append(row)
        if show:
            print_row(f"{row['ours']} C {row['num_classes']:,}", row)
    if only:
        return report
    for row in miner_rows(rounds=rounds):
        report["miners"].append(row)
        if show:
            print_row(row["ours"], row)
    report["hier_memory"] = hier_memory()
    if show:
        print(f"hier, peak above inputs: {report['hier_memory']['peak_mib_above_inputs']:.0f} MiB")
    return report


def print_row(name: str, row: Mapping[str, Any]) -> None:
    """Print both times and their ratios."""
    print(
        f"{name:<36} {row['ours_ms']:8.2f} ms   {row['theirs']:<30} {row['theirs_ms']:8.2f} ms   "
        f"ratio {row['ratio']:5.2f}   processor time {row['processor_time_ratio']:5.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
