"""Worker processes that read images, and how they start, wait, fail and end."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterable, Iterator

import torch
from torch.utils.data import DataLoader

from harness.data.reading import BatchReader, ByteBatch, Request
from harness.errors import HarnessError

# A forked worker is there at once and shares the table and what is known of the cache; any other
# imports torch first. Newer Pythons no longer fork unless they are told to.
START = "fork" if sys.platform == "linux" else None


class RequestStream:
    """What torch's loader takes for a sampler: the requests that are wanted at the moment.

    An object of its own, because a cycle pool -> loader -> pool would be left to the garbage
    collector, which stops worker processes in an order that makes it wait for them.
    """

    def __init__(self) -> None:
        """Want nothing yet."""
        self.requests: Iterable[Request] = ()

    def __iter__(self) -> Iterator[Request]:
        """Start the current requests."""
        return iter(self.requests)


class WorkerPool:
    """Worker processes that read one stream of requests after the other, in order."""

    def __init__(self, reader: BatchReader, *, workers: int, pin: bool) -> None:
        """Start nothing yet; the workers start with the first stream and wait for the next."""
        self._reader = reader
        self._workers = workers
        self._pin = pin
        self._stream = RequestStream()
        self._loader = self._new_loader()

    def _new_loader(self) -> DataLoader[ByteBatch | HarnessError]:
        return DataLoader(
            self._reader,
            batch_size=None,  # a request is a batch already
            sampler=self._stream,
            num_workers=self._workers,
            persistent_workers=True,
            collate_fn=_unchanged,
            worker_init_fn=_start,
            multiprocessing_context=START,
            pin_memory=self._pin,
            # The loader draws a seed for its workers, which must not come from the global stream.
            generator=torch.Generator().manual_seed(0),
        )

    def batches(self, requests: Iterable[Request]) -> Iterator[ByteBatch]:
        """Yield the batch of each request; a stream ends the one before it.

        Raises:
            HarnessError: As `BatchReader.batch`, or a worker died.
        """
        self._stream.requests = requests
        try:
            yield from self._read(requests)
        except HarnessError:
            self._loader = self._new_loader()  # lets the workers go, even if the error is kept
            raise
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            self._loader = self._new_loader()
            message = f"an image loading worker died: {str(error).splitlines()[0]}"
            raise HarnessError(message, hint="use fewer workers; --workers 0 uses none") from error

    def _read(self, requests: Iterable[Request]) -> Iterator[ByteBatch]:
        for batch in self._loader:
            assert self._stream.requests is requests, "two epochs are read at the same time"
            if isinstance(batch, HarnessError):
                # A copy: an error that a local of its own frame holds is a cycle too.
                raise HarnessError(batch.message, hint=batch.hint)
            yield batch


def _start(_worker: int) -> None:
    """Have no copy of what the main process made.

    Memory is shared until either writes to it. Garbage collection would write to every object;
    and what the main process has free it will write to, leaving hundreds of MiB to the worker.
    """
    gc.freeze()
    if START == "fork":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
        if trim is not None:
            trim(0)


def _unchanged(batch: object) -> object:
    return batch
