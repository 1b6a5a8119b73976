"""What the runs of a protocol will read, kept before the first of them."""

from __future__ import annotations

from harness.contracts import DataContext, SampleTable
from harness.data.cache import CachePlace
from harness.data.precomputing import CacheJob, cache_jobs, fill
from harness.data.splits import assign
from harness.plan import Feed
from harness.specs import BackboneSpec

__all__ = ["fill", "run_jobs"]


def run_jobs(feed: Feed, *, context: DataContext, place: CachePlace) -> list[CacheJob]:
    """Return the images that a run needs, in any fold, and no cache holds.

    Images that are in memory anyway need none, so there is no job then.

    Raises:
        HarnessError: An image is unreadable, or nothing can be kept.
        MissingDataError: The data set is not on this machine.
    """
    backbone = feed.backbone.card
    assert isinstance(backbone, BackboneSpec), backbone
    table: SampleTable = feed.dataset.card.build(feed.dataset.params, context)
    if table.paths is None:
        return []
    rule = feed.protocol.split
    splits = [assign(table, rule, fold) for fold in rule.fold_indices]
    return cache_jobs(table, splits, feed.protocol.transforms, backbone.preprocessing, place)
