"""Compute a loss in single precision at least, whatever the encoder was run in."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor


@contextmanager
def full_precision(
    values: Float[Tensor, "*shape"],
) -> Generator[Float[Tensor, "*shape"], None, None]:
    """Leave autocast, with the values in single precision or what more they have.

    Exponentials of a scaled similarity and differences of near points do not fit half precision.
    """
    with torch.autocast(values.device.type, enabled=False):
        yield values.to(torch.promote_types(values.dtype, torch.float32))
