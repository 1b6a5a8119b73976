"""Memory for the bytes of a batch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import get_worker_info


def empty_batch(shape: Sequence[int]) -> Tensor:
    """Return uint8 memory; in a worker it is such as the main process can take over."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    # what torch's own collate function does
    storage = torch.UntypedStorage._new_shared(math.prod(shape))  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return torch.empty(0, dtype=torch.uint8).set_(storage, 0, torch.Size(shape))  # pyright: ignore[reportCallIssue, reportArgumentType]
