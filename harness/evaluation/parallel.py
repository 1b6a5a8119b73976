"""Independent pieces of work on the cores of this machine."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Task = TypeVar("Task")
Result = TypeVar("Result")


@contextmanager
def one_thread_each(device: torch.device) -> Generator[int]:
    """Give each piece of work one thread, and yield how many pieces may run at once.

    Splitting every small operation over all threads makes them wait for one another; on a machine
    that does other work as well, that was measured to be twenty times slower. Off the CPU nothing
    changes, and one piece runs at a time.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu":
        yield 1
        return
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def in_parallel(
    work: Callable[[Task], Result], tasks: Iterable[Task], *, workers: int
) -> list[Result]:
    """Return the results in the order of the tasks; torch computes without Python's lock."""
    if workers == 1:
        return [work(task) for task in tasks]
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(work, tasks))


def blocks(count: int, size: int) -> Iterator[slice]:
    """Yield slices of at most `size` that cover `range(count)` in order."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
