"""The benchmark harness for deep metric learning.

`harness.build` is the one-line door to any component::

    parts = harness.build("loss", "hist", {"tau": 32}, num_classes=8, embedding_dim=12)
    out = parts.objective(Batch.of(embeddings, labels), Progress(epoch=0))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.contracts import Batch, Progress
from harness.errors import HarnessError

__version__: str  # see __getattr__

__all__ = ["Batch", "HarnessError", "Progress", "__version__", "build"]


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for: reading metadata takes time."""
    if name != "__version__":
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    from importlib.metadata import version

    return version("dml-harness")


def build(
    kind: str,
    name: str,
    params: Mapping[str, Any] | None = None,
    context: object | None = None,
    **context_fields: object,
) -> Any:  # noqa: ANN401 - each kind builds something else
    """Build a component: a loss gives LossParts, a backbone a module, a data set its table.

    Args:
        kind: `loss`, `miner`, `sampler`, `backbone`, `dataset`, `metric` or `replay`.
        name: `hist`, or `distribution:hist` where two plugins share a name. `recall_at_10` is
            `recall_at_k` with `k=10`.
        params: Values of the card's parameters; the rest keeps its defaults.
        context: What the component is built from (`BuildContext` for a loss); None starts from
            the defaults of its kind.
        context_fields: Fields of the context to set (`num_classes=8`).

    Raises:
        HarnessError: The kind, name, a parameter or a context field is unknown or out of range.
    """
    from harness.registry.building import build_component, installed

    return build_component(installed(), kind, name, params or {}, context, context_fields)
