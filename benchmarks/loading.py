"""Images per second of loading against the plain PIL + torchvision pipelines of the papers' code.

Same files, same batches, one worker each, in one process and in turns; each ratio compares
neighbours in time, and a ratio above 1 means ours is faster. On a machine that does other work as
well, the ratio of processor time is the steadier one. Also: what a worker keeps for itself with a
table as long as Stanford Online Products', and how soon the first batch of a warm epoch comes.
Run: `python benchmarks/loading.py [--json]`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T  # noqa: N812 - its usual name

from harness import protocol
from harness.contracts import SampleTable, Split
from harness.data.cache import CachePlace
from harness.data.loading import Loaders, make_loaders
from harness.specs import Preprocessing

BATCH = 32
SOP_ROWS = 120_053
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PROTOCOLS = Path(__file__).parents[1] / "protocols"


@dataclass(frozen=True)
class Case:
    """One pipeline, ours and theirs.

    Attributes:
        protocol: Whose transforms ours are.
        card: What the backbone expects.
        train, evaluate: Theirs, the same steps.
    """

    protocol: str
    card: Preprocessing
    train: Callable[[Image.Image], torch.Tensor]
    evaluate: Callable[[Image.Image], torch.Tensor]


def reversed_channels(image: Image.Image) -> Image.Image:
    """Return the image as BGR, as the code of arXiv:2003.08505 prepares it for BN-Inception."""
    return Image.merge("RGB", image.split()[::-1])


def times_255(image: torch.Tensor) -> torch.Tensor:
    """Return the image in 0 to 255, as the same code does."""
    return image * 255


INCEPTION_END = (T.ToTensor(), times_255, T.Normalize((104.0, 117.0, 128.0), (1.0, 1.0, 1.0)))
RESNET_END = (T.ToTensor(), T.Normalize(MEAN, STD))
CROP = T.RandomResizedCrop(227, (0.16, 1.0), (0.75, 1.33))
CASES = {
    "mlrc": Case(
        "mlrc_cub",
        Preprocessing("bgr", 255.0, mean=(104.0, 117.0, 128.0), std=(1.0, 1.0, 1.0)),
        T.Compose(
            [reversed_channels, T.Resize(256), CROP, T.RandomHorizontalFlip(), *INCEPTION_END]
        ),
        T.Compose([reversed_channels, T.Resize(256), T.CenterCrop(227), *INCEPTION_END]),
    ),
    "conventional": Case(
        "conventional_cub_resnet50_512",
        Preprocessing(mean=MEAN, std=STD),
        T.Compose([T.RandomResizedCrop(224), T.RandomHorizontalFlip(), *RESNET_END]),
        T.Compose([T.Resize(256), T.CenterCrop(224), *RESNET_END]),
    ),
}


class PlainImages(Dataset[tuple[torch.Tensor, int]]):
    """The data set of every paper's code."""

    def __init__(
        self, paths: Sequence[Path], transform: Callable[[Image.Image], torch.Tensor]
    ) -> None:
        """Read `paths` through a transform."""
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Return one image and its label."""
        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert("RGB")), index


class InOrder:
    """A sampler that passes over all rows once."""

    def __init__(self, num_rows: int) -> None:
        self.num_rows = num_rows

    def batches(self, epoch: int) -> Iterator[Sequence[int]]:  # noqa: ARG002
        """Yield the rows of each batch."""
        for start in range(0, self.num_rows, BATCH):
            yield range(start, min(start + BATCH, self.num_rows))


class Times(NamedTuple):
    """Seconds of an epoch: on the wall, and of all our processes on their processors."""

    wall: float
    processor: float


def write_photos(folder: Path, count: int) -> list[str]:
    """Write photographs of 500x375 pixels and about 95 kB; return their names."""
    for index in range(count):
        rng = np.random.default_rng(index)
        coarse = Image.fromarray(rng.integers(0, 256, (47, 63, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC)).astype(np.float64)
        noisy = (smooth + rng.normal(0, 10.3, smooth.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{index:05d}.jpg", quality=90)
    return [f"{index:05d}.jpg" for index in range(count)]


def our_loaders(case: Case, root: Path, paths: Sequence[str], cache: Path, used: int) -> Loaders:
    """Return our loaders with one worker, over the first `used` rows of a table."""
    ids = np.arange(len(paths))
    table = SampleTable("photos", sample_id=ids, label=ids, root=root, paths=paths)
    rows = ids[:used]
    return make_loaders(
        table,
        Split(train=rows, val=rows[:0], query=rows, gallery=rows),
        protocol.load(PROTOCOLS / f"{case.protocol}.yaml").transforms,
        case.card,
        sampler=InOrder(used),
        seed=0,
        eval_batch_size=BATCH,
        workers=1,
        cache=CachePlace(cache, 2**40),
    )


def plain_epochs(images: PlainImages, *, keep: bool) -> Callable[[], None]:
    """Return a function that reads one epoch; `keep` lets the worker wait for the next."""
    loader = DataLoader(images, batch_size=BATCH, num_workers=1, persistent_workers=keep)

    def epoch() -> None:
        for _ in loader:
            pass

    return epoch


def processor_time() -> float:
    """Return the seconds that this process and its workers have been on a processor."""
    pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    spent = (Path(f"/proc/{pid}/schedstat") for pid in pids)
    ended = os.times()
    running = sum(int(file.read_text().split()[0]) for file in spent if file.exists()) / 1e9
    return running + ended.children_user + ended.children_system


def time_of(epoch: Callable[[], object]) -> Times:
    """Return the time of one epoch."""
    wall, processor = time.perf_counter(), processor_time()
    epoch()
    return Times(time.perf_counter() - wall, processor_time() - processor)


def in_turns(
    ours: Callable[[], object], plain: Callable[[], object], *, rounds: int, images: int
) -> dict[str, Any]:
    """Return images/s of both and the ratios of each round."""
    times: dict[str, list[Times]] = {"ours": [], "plain": []}
    epochs = {"ours": ours, "plain": plain}
    for number in range(rounds):
        for name in sorted(epochs, reverse=bool(number % 2)):
            times[name].append(time_of(epochs[name]))
    pairs = list(zip(times["ours"], times["plain"], strict=True))
    return {
        "ours_images_per_second": images / statistics.median(t.wall for t in times["ours"]),
        "plain_images_per_second": images / statistics.median(t.wall for t in times["plain"]),
        "ratio": statistics.median(plain.wall / ours.wall for ours, plain in pairs),
        "processor_time_ratio": statistics.median(p.processor / o.processor for o, p in pairs),
        "ratios": [plain.wall / ours.wall for ours, plain in pairs],
    }


def measure(case: Case, root: Path, paths: Sequence[str], rounds: int) -> dict[str, Any]:
    """Return the ratios of one pipeline: first epoch, later epochs, evaluation again."""
    count = len(paths)
    rows = np.arange(count)
    files = [root / path for path in paths]

    def first_epoch() -> None:
        with tempfile.TemporaryDirectory() as cache:
            read(our_loaders(case, root, paths, Path(cache), count).train(0))

    plain_first = plain_epochs(PlainImages(files, case.train), keep=False)
    results = {"first_epoch": in_turns(first_epoch, plain_first, rounds=rounds, images=count)}
    with tempfile.TemporaryDirectory() as cache:
        loaders = our_loaders(case, root, paths, Path(cache), count)
        read(loaders.train(0))
        epochs = iter(range(1, 10**6))
        plain = plain_epochs(PlainImages(files, case.train), keep=True)
        plain()
        results["second_epoch"] = in_turns(
            lambda: read(loaders.train(next(epochs))), plain, rounds=rounds, images=count
        )
        plain_evaluation = plain_epochs(PlainImages(files, case.evaluate), keep=True)
        read(loaders.evaluate(rows))
        plain_evaluation()
        results["evaluation"] = in_turns(
            lambda: read(loaders.evaluate(rows)),
            plain_evaluation,
            rounds=rounds,
            images=count,
        )
    return results


def read(batches: Iterator[object]) -> None:
    """Take all batches."""
    for _ in batches:
        pass


def long_table(root: Path, paths: Sequence[str], rounds: int) -> dict[str, Any]:
    """Return the memory of a worker and the time to the first batch, with as many rows as SOP.

    Call it in a process of its own: a worker copies the pages of its parent that it writes to, and
    a parent that has measured other things has many that are free.
    """
    torch.set_num_threads(1)
    names = [*paths, *(f"class_{row:05d}/{row:012d}_0.jpg" for row in range(SOP_ROWS))][:SOP_ROWS]
    seconds: list[float] = []
    memory: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as cache:
        read(our_loaders(CASES["mlrc"], root, names, Path(cache), len(paths)).train(0))
        for _ in range(rounds):
            loaders = our_loaders(CASES["mlrc"], root, names, Path(cache), len(paths))
            start = time.perf_counter()
            batches = loaders.train(1)
            next(batches)
            seconds.append(time.perf_counter() - start)
            read(batches)
            (worker,) = multiprocessing.active_children()
            memory.append(memory_of(worker.pid, besides=cache))
            del batches, loaders
    return {
        "rows": SOP_ROWS,
        "worker_private_mib": max(one["private"] for one in memory),
        "worker_resident_mib": max(one["resident"] for one in memory),
        "first_batch_seconds": statistics.median(seconds),
    }


def memory_of(pid: int | None, *, besides: str) -> dict[str, float]:
    """Return the MiB of a process, in all and not shared, without mappings of a folder."""
    sums = {"private": 0, "resident": 0}
    counted = True
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            counted = besides not in line
        elif counted and (match := re.match(r"(Private_\w+|Rss): +(\d+) kB", line)):
            sums["resident" if match[1] == "Rss" else "private"] += int(match[2])
    return {name: value / 1024 for name, value in sums.items()}


def main() -> None:
    """Measure and print a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each side")
    parser.add_argument("--images", type=int, default=512, help="images of an epoch")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        paths = write_photos(root, arguments.images)
        size = statistics.mean((root / path).stat().st_size for path in paths)
        results = {
            name: measure(case, root, paths, arguments.rounds) for name, case in CASES.items()
        }
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
            table = fresh.submit(long_table, root, paths, arguments.rounds).result()
    if arguments.json:
        facts = {"torch": torch.__version__, "bytes_per_image": size, "images": len(paths)}
        print(json.dumps({**facts, **results, "long_table": table}, indent=2))
        return
    for name, parts in results.items():
        for part, one in parts.items():
            print(
                f"{name + ' ' + part:<26} {one['ours_images_per_second']:8.0f} images/s, "
                f"plain {one['plain_images_per_second']:6.0f}, ratio {one['ratio']:.2f} "
                f"(processor time {one['processor_time_ratio']:.2f})"
            )
    print(", ".join(f"{name} {value:.3g}" for name, value in table.items()))


if __name__ == "__main__":
    main()
