"""Images per second of the training loop against a loop that anybody would write.

Same model, loss, batches and learning rates in one process; the two take turns, and each ratio
compares neighbours in time. On a machine that does other work as well, the ratio of processor time
is the steadier one. Run: `python benchmarks/training.py [--json]`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

import harness
from harness import protocol
from harness.api import Batch, LossParts, Progress
from harness.training.encoder import Encoder, build_encoder
from harness.training.learner import make_learner
from harness.training.loop import fit

EMBEDDING_DIM = 64
CLASSES = 5


@dataclass(frozen=True)
class Case:
    """One model with its batches.

    Attributes:
        backbone: Name of the component.
        shape: (B, K, H, W) of a batch.
        features: F of the backbone.
        steps: Batches of one measured epoch.
    """

    backbone: str
    shape: tuple[int, int, int, int]
    features: int
    steps: int


@dataclass(frozen=True)
class TensorBatch:
    """A batch that is in memory already, so that only the loop is measured."""

    images: Tensor
    labels: Tensor
    sample_index: Tensor


class Times(NamedTuple):
    """Seconds of an epoch: on the wall, and of this process on its processors."""

    wall: float
    processor: float


CASES = (
    Case("conv4", (40, 1, 32, 32), 64, 40),
    Case("resnet18", (16, 3, 64, 64), 512, 10),
)


def batches_of(case: Case, device: torch.device) -> list[TensorBatch]:
    """Return the batches of one epoch, on their device."""
    size = case.shape[0]
    return [
        TensorBatch(
            torch.randn(case.shape, device=device),
            torch.arange(size, device=device) % CLASSES,
            torch.arange(size, device=device),
        )
        for _ in range(case.steps)
    ]


def build(case: Case) -> tuple[Encoder, LossParts]:
    """Return a fresh encoder and HIST, the same ones each time."""
    torch.manual_seed(0)
    encoder = build_encoder(
        harness.build("backbone", case.backbone),
        num_features=case.features,
        head=protocol.Head(dim=EMBEDDING_DIM),
        generator=torch.Generator().manual_seed(0),
    )
    loss = harness.build("loss", "hist", num_classes=CLASSES, embedding_dim=EMBEDDING_DIM)
    return encoder, loss


def our_epochs(case: Case, batches: list[TensorBatch], device: torch.device) -> Iterator[None]:
    """Train an epoch at each request, with the harness."""
    encoder, parts = build(case)
    training = protocol.Training(
        batch_size=case.shape[0],
        epochs=100,
        optimizer=protocol.Optimizer(name="Adam", lr=1e-3, weight_decay=1e-4),
    )
    learner = make_learner(encoder, parts, training=training, device=device)
    for _ in fit(learner, lambda _: batches, seed=0):
        yield


def bare_epochs(case: Case, batches: list[TensorBatch], device: torch.device) -> Iterator[None]:
    """Train an epoch at each request, with nothing but torch."""
    encoder, parts = build(case)
    model, objective = encoder.to(device), parts.objective.to(device)
    groups: list[dict[str, Any]] = [{"params": list(model.parameters())}]
    for group in parts.param_groups:
        lr = 1e-3 * group.lr_scale if group.lr is None else group.lr
        groups.append({"params": list(group.params), "lr": lr})
    optimizer = torch.optim.Adam(groups, lr=1e-3, weight_decay=1e-4)
    while True:
        model.train()
        for batch in batches:
            features, embeddings = model(batch.images)
            output = objective(Batch(embeddings, batch.labels, features), Progress())
            loss = output if isinstance(output, Tensor) else output["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield


def time_of(epoch: Callable[[], None], device: torch.device) -> Times:
    """Return the time of one epoch, its last kernel included."""
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    synchronize()
    wall, processor = time.perf_counter(), time.process_time()
    epoch()
    synchronize()
    return Times(time.perf_counter() - wall, time.process_time() - processor)


def measure(case: Case, *, rounds: int, device: torch.device) -> dict[str, object]:
    """Return images/s of both loops, and the ratios of each round."""
    batches = batches_of(case, device)
    loops = {"ours": our_epochs(case, batches, device), "bare": bare_epochs(case, batches, device)}
    times: dict[str, list[Times]] = {"ours": [], "bare": []}
    for loop in loops.values():
        next(loop)  # warm-up
    for number in range(rounds):
        # each goes first in every second round: a machine that slows down favours neither
        for name in sorted(loops, reverse=bool(number % 2)):
            times[name].append(time_of(lambda name=name: next(loops[name]), device))
    pairs = list(zip(times["ours"], times["bare"], strict=True))
    ratios = [bare.wall / ours.wall for ours, bare in pairs]
    processor_ratios = [bare.processor / ours.processor for ours, bare in pairs]
    images = case.shape[0] * case.steps
    return {
        "case": f"{case.backbone} {'x'.join(map(str, case.shape))}",
        "ours_images_per_second": images / statistics.median(t.wall for t in times["ours"]),
        "bare_images_per_second": images / statistics.median(t.wall for t in times["bare"]),
        "ratios": ratios,
        "median_ratio": statistics.median(ratios),
        "processor_time_ratios": processor_ratios,
        "median_processor_time_ratio": statistics.median(processor_ratios),
    }


def main() -> None:
    """Measure each case and print a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=5, help="epochs per loop and case")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    results = [measure(case, rounds=arguments.rounds, device=device) for case in CASES]
    if arguments.json:
        threads = torch.get_num_threads()
        facts = {"torch": torch.__version__, "threads": threads, "device": arguments.device}
        print(json.dumps({**facts, "cases": results}, indent=2))
        return
    for result in results:
        print(
            f"{result['case']:<24} {result['ours_images_per_second']:9.0f} images/s, "
            f"bare loop {result['bare_images_per_second']:9.0f}, "
            f"ratio {result['median_ratio']:.3f} "
            f"(processor time {result['median_processor_time_ratio']:.3f})"
        )


if __name__ == "__main__":
    main()
