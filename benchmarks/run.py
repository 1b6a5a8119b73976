"""Training images per second of a whole `harness run` against a loop that anybody would write.

The run is real: digits protocol, its images, augmentation, sampler, HIST, a checkpoint after each
epoch. The bare loop has the same model, loss, optimizer, batch size, images and augmentation, with
torchvision transforms and a DataLoader in the process itself, and writes nothing. The two take
turns in one process; start-up and the first epoch of each turn are left out.
Run: `python benchmarks/run.py [--json]`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

import harness
from harness import protocol
from harness.api import Batch, DataContext, Progress, SampleTable
from harness.data.splits import assign
from harness.execute import EpochDone, Event, ExecutionOptions, run_all
from harness.plan import Request, make_plan
from harness.registry import discover
from harness.store.writer import open_store
from harness.training.encoder import build_encoder

ROOT = Path(__file__).parents[1]
EPOCHS = 5
SIDE = 16


class Images(Dataset[tuple[torch.Tensor, int]]):
    """The training digits, transformed anew each time, as papers' code does it."""

    def __init__(self, images: Sequence[np.ndarray], labels: Sequence[int]) -> None:
        """Keep the images in memory; there is nothing to decode."""
        self.images = [Image.fromarray(image) for image in images]
        self.labels = list(labels)
        self.transform = transforms.Compose(
            [
                transforms.Resize(SIDE),
                transforms.RandomAffine(10, (0.1, 0.1), (0.9, 1.1)),
                transforms.ToTensor(),
                transforms.Normalize(0.5, 0.5),
            ]
        )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Return one image and its label."""
        return self.transform(self.images[index]), self.labels[index]


def batches(labels: np.ndarray, training: protocol.Training, m: int) -> Iterator[list[int]]:
    """Yield the rows of each batch of an epoch: m of each class."""
    rng = np.random.default_rng()
    rows = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for _ in range(training.iterations_per_epoch or 1):
        chosen = rng.permutation(len(rows))[: training.batch_size // m]
        yield [int(row) for c in chosen for row in rng.choice(rows[c], m, replace=False)]


def bare_seconds(small: protocol.Protocol, table: SampleTable) -> float:
    """Return the wall seconds of an epoch with nothing but torch and torchvision."""
    split = assign(table, small.split, 0)
    assert table.images is not None
    labels = table.label[split.train]
    data = Images(list(table.images[split.train]), labels.tolist())
    model = build_encoder(
        harness.build("backbone", "conv4"),
        num_features=64,
        head=small.head,
        generator=torch.Generator().manual_seed(0),
    )
    parts = harness.build("loss", "hist", num_classes=5, embedding_dim=small.head.dim)
    base = small.training.optimizer
    groups = [{"params": list(model.parameters())}]
    for group in parts.param_groups:
        lr = base.lr * group.lr_scale if group.lr is None else group.lr
        groups.append({"params": list(group.params), "lr": lr})
    optimizer = torch.optim.Adam(groups, lr=base.lr, weight_decay=base.weight_decay)
    seconds: list[float] = []
    for _ in range(EPOCHS):
        started = time.perf_counter()
        sampler = list(batches(labels, small.training, int(small.sampler.params["m"])))
        model.train()
        for images, targets in DataLoader(data, batch_sampler=sampler):
            features, embeddings = model(images)
            loss = parts.objective(Batch(embeddings, targets, features), Progress())["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def our_seconds(small: protocol.Protocol, folder: Path) -> float:
    """Return the wall seconds from one epoch's checkpoint to the next of a real run."""
    plan = make_plan(small, discover(), Request(plugins=("hist",)))
    moments: list[float] = []

    def hear(event: Event) -> None:
        if isinstance(event, EpochDone):
            moments.append(time.perf_counter())

    options = ExecutionOptions(data_root=folder, device="cpu", existing="always")
    run_all(plan, store=open_store(folder / "runs"), options=options, on_event=hear)
    return statistics.median(np.diff(moments).tolist())


def main() -> None:
    """Measure, and print a line or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    arguments = parser.parse_args()
    digits = protocol.load(ROOT / "protocols" / "digits.yaml")
    small = protocol.with_values(digits, {"training.epochs": EPOCHS})
    table = harness.build("dataset", "digits", context=DataContext(root=Path()))
    ours: list[float] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(arguments.rounds + 1):
            pair = our_seconds(small, Path(folder)), bare_seconds(small, table)
            if turn:  # the first one warms up
                ours.append(pair[0])
                bare.append(pair[1])
    images = small.training.batch_size * (small.training.iterations_per_epoch or 1)
    ratios = [b / o for o, b in zip(ours, bare, strict=True)]
    result = {
        "case": "harness run protocols/digits.yaml --plugin hist",
        "ours_images_per_second": images / statistics.median(ours),
        "bare_images_per_second": images / statistics.median(bare),
        "ratios": ratios,
        "median_ratio": statistics.median(ratios),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        print(
            f"{result['ours_images_per_second']:.0f} images/s, bare loop "
            f"{result['bare_images_per_second']:.0f}, ratio {result['median_ratio']:.3f}"
        )


if __name__ == "__main__":
    main()
