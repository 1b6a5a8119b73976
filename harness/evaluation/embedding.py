"""Images to embeddings.

Shapes: N images, B batch, D embedding.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from harness.contracts import ImageBatch
from harness.errors import HarnessError
from harness.evaluation.kernels import all_finite


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Embedded images of one side of a retrieval, all on one device.

    Attributes:
        values: (N, D) finite float32.
        labels: (N,) int64 class ids, any values.
        sample_ids: (N,) int64, no two alike.
    """

    values: Tensor  # checked below: these errors are for users
    labels: Tensor
    sample_ids: Tensor

    def __post_init__(self) -> None:
        """Refuse what no ranking can be computed from."""
        _check_shapes(self)
        _check_finite(self.values)
        if len(torch.unique(self.sample_ids)) != len(self.sample_ids):
            raise HarnessError("two embeddings have the same sample id")

    def __len__(self) -> int:
        """Return N."""
        return len(self.labels)


def _check_shapes(embeddings: Embeddings) -> None:
    values = embeddings.values
    if values.ndim != 2 or values.shape[1] == 0:  # noqa: PLR2004 - a matrix
        raise HarnessError(f"embeddings must be (N, D) with D of at least 1, got {_shape(values)}")
    if len(values) == 0:
        raise HarnessError("there are no embeddings: the set is empty")
    for name in ("labels", "sample_ids"):
        column: Tensor = getattr(embeddings, name)
        if column.shape != values.shape[:1]:
            raise HarnessError(f"{name} {_shape(column)} do not fit embeddings {_shape(values)}")
        if column.dtype != torch.int64:
            raise HarnessError(f"{name} must be int64, got {column.dtype}")


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))})"


def _check_finite(values: Tensor) -> None:
    if all_finite(values):
        return
    broken = int((~torch.isfinite(values)).any(dim=1).sum())
    raise HarnessError(
        f"{broken} of {len(values)} embeddings contain NaN or infinity",
        hint="the training has diverged: lower the learning rate, or clip gradients",
    )


def embed(
    encoder: nn.Module,
    batches: Iterable[ImageBatch],
    *,
    device: torch.device | str,
    normalize: bool,
    layer: Literal["embeddings", "features"] = "embeddings",
) -> Embeddings:
    """Embed every batch in evaluation mode, without gradients.

    Args:
        encoder: Called as `encoder(images)`; the result has the attributes `embeddings`, (B, D),
            and `features`, (B, F).
        batches: Batches of any size; each image is embedded independently of its batch.
        device: Where the encoder is, and where the embeddings stay.
        normalize: L2-normalise each embedding; a zero vector stays zero.
        layer: What is taken: embeddings, or the features below the head.

    Raises:
        HarnessError: There are no batches, or an embedding is not finite.
    """
    values: list[Tensor] = []
    labels: list[Tensor] = []
    sample_ids: list[Tensor] = []
    with _evaluating(encoder):
        for batch in batches:
            images = batch.images.to(device, non_blocking=True)
            values.append(getattr(encoder(images), layer).float())
            labels.append(batch.labels)
            sample_ids.append(batch.sample_index)
        if not values:
            raise HarnessError("there are no images to embed: the part is empty")
        stacked = torch.cat(values)
        if normalize:
            stacked = nn.functional.normalize(stacked)
    return Embeddings(stacked, torch.cat(labels).to(device), torch.cat(sample_ids).to(device))


@contextmanager
def _evaluating(encoder: nn.Module) -> Generator[None]:
    """Switch to evaluation mode, and put each module back as it was."""
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training
