"""One generator for everything that a component draws when it is built."""

from collections.abc import Generator
from contextlib import contextmanager

import torch

from harness.contracts import BuildContext
from harness.seeding import derive_seed


def generator_of(context: BuildContext) -> torch.Generator:
    """Return the context's generator, or one with a fixed seed where it has none.

    A run always brings a generator; notebooks and tests may leave it out and get the same initial
    weights each time.
    """
    if context.generator is not None:
        return context.generator
    return torch.Generator().manual_seed(derive_seed(0, "component"))


@contextmanager
def global_stream_from(generator: torch.Generator) -> Generator[None, None, None]:
    """Let third-party code that draws from torch's global CPU stream draw from `generator`.

    The global stream is put back on leaving, so nothing else notices.
    """
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
