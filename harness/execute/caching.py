"""What a protocol's runs will read, kept before the first of them."""

from __future__ import annotations

from harness.contracts import DataContext, SampleTable
from harness.data.cache import CachePlace
from harness.data.precomputing import CacheJob, cache_jobs, fill
from harness.data.splits import assign
from harness.protocol import Protocol
from harness.registry import Registry, params
from harness.specs import BackboneSpec

__all__ = ["fill", "protocol_jobs"]


def protocol_jobs(
    protocol: Protocol, registry: Registry, *, context: DataContext, place: CachePlace
) -> list[CacheJob]:
    """Return the images that the folds of a protocol need and no cache holds.

    Images that are in memory anyway need none, so there is no job then.

    Raises:
        HarnessError: An image is unreadable.
        MissingDataError: The data set is not on this machine.
    """
    dataset = registry.get("dataset", protocol.dataset.name)
    backbone = registry.get("backbone", protocol.backbone.name).card
    assert isinstance(backbone, BackboneSpec), backbone
    table: SampleTable = dataset.card.build(params(dataset, protocol.dataset.params), context)
    if table.paths is None:
        return []
    splits = [assign(table, protocol.split, fold) for fold in protocol.split.fold_indices]
    return cache_jobs(table, splits, protocol.transforms, backbone.preprocessing, place)
