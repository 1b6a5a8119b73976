"""Compute a loss in single precision at least, whatever the encoder was run in.

Exponentials of a scaled similarity and differences of near points do not fit half precision.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor


def at_least_single(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return half-precision numbers as float32, all others as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


@contextmanager
def full_precision(
    values: Float[Tensor, "*shape"],
) -> Generator[Float[Tensor, "*shape"], None, None]:
    """Leave autocast, with the values in single precision at least."""
    with torch.autocast(values.device.type, enabled=False):
        yield at_least_single(values)
