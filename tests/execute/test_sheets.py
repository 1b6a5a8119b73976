"""A contact sheet shows the batches of a run, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.data.splits import assign
from harness.errors import HarnessError
from harness.execute import ExecutionOptions
from harness.execute.assembly import assemble, find_table, loaders_of, open_table
from harness.execute.sheets import contact_sheet
from harness.plan import Request, make_feed

CPU = torch.device("cpu")


@pytest.fixture
def feed(toy, registry):
    return make_feed(toy(), registry, Request(seeds=(3,)))


def test_a_feed_gives_the_batches_that_a_run_of_any_loss_trains_on(feed, toy, plan, tmp_path):
    options = ExecutionOptions(data_root=tmp_path)
    (run,) = plan(toy(), "hist", seeds=(3,))
    parts = assemble(run, open_table(run, options), device=CPU, options=options)
    table = find_table(feed, options)
    split = assign(table, feed.protocol.split, feed.fold)

    loaders = loaders_of(feed, table, split, device=CPU, options=options)

    pairs = list(zip(loaders.train(0), parts.loaders.train(0), strict=True))
    assert len(pairs) == 2
    assert all(torch.equal(ours.images, theirs.images) for ours, theirs in pairs)
    assert all(torch.equal(ours.labels, theirs.labels) for ours, theirs in pairs)


def test_rows_are_classes_and_batches_are_read_until_there_are_enough(feed, tmp_path):
    short, long = (
        contact_sheet(feed, data_root=tmp_path, rows=rows, columns=4) for rows in (3, 7)
    )

    assert (short.num_batches, short.num_classes, short.num_images) == (1, 3, 12)
    assert (long.num_batches, long.num_classes, long.num_images) == (2, 5, 28)
    assert long.size == (16, 16)
    assert long.image.height > short.image.height


def test_the_sheet_ends_with_the_epoch(feed, tmp_path):
    sheet = contact_sheet(feed, data_root=tmp_path, rows=100, columns=4)

    assert (sheet.num_batches, sheet.num_images) == (2, 40)


def test_equal_seeds_give_equal_sheets_and_others_do_not(toy, registry, tmp_path):
    feeds = [make_feed(toy(), registry, Request(seeds=(seed,))) for seed in (0, 0, 1)]

    first, again, other = (
        np.asarray(contact_sheet(feed, data_root=tmp_path, rows=2, columns=4).image)
        for feed in feeds
    )

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_feed_is_refused_like_a_run(toy, registry):
    with pytest.raises(HarnessError, match="fold 7"):
        make_feed(toy(), registry, Request(folds=(7,)))
