"""Independent random streams from one root seed.

Every stream has a name; two methods that share a root seed share the streams of everything they
have in common (class order, batches, augmentation, initial head).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator


def derive_seed(root: int, *stream: str | int) -> int:
    """Return a seed in [0, 2**63) that depends on the root and on each part of the name.

    The derivation is a hash, so neighbouring roots give unrelated streams, and it is the same on
    every platform and Python version.

    >>> derive_seed(0, "batches") == derive_seed(0, "batches")
    True
    >>> derive_seed(0, "batches", 1) == derive_seed(0, "batches", 2)
    False
    """
    text = "\x1f".join([str(root), *(f"{type(part).__name__}:{part}" for part in stream)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def torch_generator(root: int, *stream: str | int) -> Generator:
    """Return a CPU generator seeded for the named stream."""
    import torch

    return torch.Generator().manual_seed(derive_seed(root, *stream))


def seed_global_streams(root: int, *stream: str | int) -> None:
    """Seed the global generators of Python, NumPy and torch.

    Only the outermost shell calls this, at the start of each epoch: dropout and third-party code
    (miners of pytorch-metric-learning, for one) draw from the global generators, and a resumed
    run must draw what an uninterrupted one would.
    """
    import random

    import numpy as np
    import torch

    seed = derive_seed(root, "global", *stream)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - third-party code reads the legacy generator
    torch.manual_seed(seed)
