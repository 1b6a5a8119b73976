"""Exact inner-product search by faiss, an optional package.

Shapes: Q queries, G gallery, K factors, W neighbours.
"""

from __future__ import annotations

from typing import Any

import faiss
import torch
from jaxtyping import Float
from torch import Tensor

from harness.contracts import Nearest

_MOST_ON_GPU = 2048  # neighbours that faiss can select on a GPU


class FaissIndex:
    """A flat index: every product is computed, in float32; see `harness.contracts.Index`.

    It lives on the GPU of the gallery if faiss was built for GPUs, else in main memory.
    """

    def __init__(self, gallery: Float[Tensor, "g k"]) -> None:
        """Copy the gallery into the index."""
        self._index: Any = faiss.IndexFlatIP(gallery.shape[1])  # faiss comes without types
        self._index.add(gallery.cpu().numpy())
        self._on_gpu: Any = None
        if gallery.is_cuda and hasattr(faiss, "StandardGpuResources"):
            place = gallery.device.index or 0
            self._on_gpu = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), place, self._index)

    def __call__(self, query: Float[Tensor, "q k"], width: int) -> Nearest:
        """Return the `width` largest products of each query."""
        many = width > _MOST_ON_GPU
        index = self._index if many or self._on_gpu is None else self._on_gpu
        scores, rows = index.search(query.cpu().contiguous().numpy(), width)
        return Nearest(
            torch.from_numpy(scores).to(query.device), torch.from_numpy(rows).to(query.device)
        )
