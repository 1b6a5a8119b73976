"""Learning rates of HIER's code, step by step, for whoever wants to compare.

A run takes them from its protocol: the step schedule is `training.schedule: {every, gamma}`, the
factors of the groups are `training.head_lr_scale`, `loss.proxy_lr_factor` and
`loss.metric_lr_factor`, and warm-up is `training.warmup`. No published script uses the cosine.

Shapes: I steps of a whole training.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

PUBLISHED_BATCH = 180  # the batch that learning rates are written for
PROXY_FACTOR = 50.0
METRIC_FACTOR = 10_000.0


def step_factors(
    *, step_size: int, epochs: int, niter_per_ep: int, gamma: float
) -> Float[ndarray, " i"]:
    """Return gamma to the number of whole `step_size` epochs behind each step."""
    epoch = np.arange(epochs * niter_per_ep) // niter_per_ep
    return gamma ** (epoch // step_size).astype(np.float64)


def cosine_factors(
    *, base_value: float, final_value: float, epochs: int, niter_per_ep: int
) -> Float[ndarray, " i"]:
    """Return half a cosine from `base_value` to just before `final_value`."""
    steps = epochs * niter_per_ep
    falling = (1 + np.cos(np.pi * np.arange(steps) / steps)) / 2
    return final_value + (base_value - final_value) * falling


def learning_rates(
    factors: Float[ndarray, " i"],
    *,
    base_lr: float,
    batch_size: int,
    steps_per_epoch: int,
    warmup_epochs: int,
    head_factor: float,
) -> Float[ndarray, "i 4"]:
    """Return the rates of backbone, head, hierarchical proxies and metric proxies.

    They grow with the batch; while warming up only the backbone's is 0.
    """
    scales = np.array([1.0, head_factor, PROXY_FACTOR, METRIC_FACTOR])
    rates = base_lr * batch_size / PUBLISHED_BATCH * scales * factors[:, None]
    rates[: warmup_epochs * steps_per_epoch, 0] = 0
    return rates
