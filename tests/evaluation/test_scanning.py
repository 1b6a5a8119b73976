"""Compiled scans of lists, against twins that go place by place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.evaluation import scanning
from harness.evaluation.pairs import Listed, Ordered, ordered, unpacked
from harness.evaluation.scanning import Labels

pytestmark = pytest.mark.skipif(
    scanning.compiled() is None, reason="no compiled loops here; see harness doctor"
)
GALLERY, QUERIES, WIDTH = 40, 5, 12


def lists(seed: int) -> tuple[Ordered, Labels]:
    """Lists with runs of close and of equal scores, some of them short."""
    rng = np.random.default_rng(seed)
    scores = -np.sort(-rng.integers(0, 9, (QUERIES, WIDTH)) / 4.0, axis=1)
    for row, count in zip(scores, rng.integers(0, WIDTH + 1, QUERIES), strict=True):
        row[count:] = -np.inf
    rows = rng.permuted(np.tile(np.arange(GALLERY), (QUERIES, 1)), axis=1)[:, :WIDTH].copy()
    rows[np.isinf(scores)] = 0
    query, gallery = rng.integers(0, 3, QUERIES), rng.integers(0, 3, GALLERY)
    found = Ordered(torch.from_numpy(rows), torch.from_numpy(scores))
    return found, Labels(torch.from_numpy(query), torch.from_numpy(gallery))


def hits(found: Ordered, labels: Labels, query: int) -> list[bool]:
    classes = labels.gallery[found.rows[query]] == labels.query[query]
    return (classes & (found.scores[query] > -torch.inf)).tolist()


@given(seed=st.integers(0, 2000), neighbors=st.integers(0, WIDTH))
def test_a_run_is_doubtful_if_its_order_matters(seed, neighbors):
    found, labels = lists(seed)
    error = torch.full((QUERIES,), 0.125, dtype=torch.float64)  # scores 1/4 apart are close
    error[0] = 0.0

    flags = scanning.doubtful(found, labels, error, neighbors)

    for query in range(QUERIES):
        scores, hit = found.scores[query].tolist(), hits(found, labels, query)
        expected = [place < neighbors and scores[place] > -np.inf for place in range(WIDTH)]
        for first in range(WIDTH):
            for last in range(first, WIDTH):
                gaps = [scores[i] - scores[i + 1] for i in range(first, last)]
                if all(gap <= 2 * error[query] for gap in gaps) and any(
                    hit[i] != hit[i + 1] or i < neighbors for i in range(first, last)
                ):
                    expected[first : last + 1] = [True] * (last + 1 - first)
        assert flags[query].tolist() == expected


@given(seed=st.integers(0, 2000), cutoff=st.sampled_from([None, 1, 5, 50]))
def test_precision_is_summed_as_its_definition_says(seed, cutoff):
    found, labels = lists(seed)
    relevant = torch.tensor([0, 1, 3, 20, 11])

    first, hits_at_r, sums = scanning.precision(found, labels, relevant, cutoff or 0)

    for query in range(QUERIES):
        ranks = [rank for rank, hit in enumerate(hits(found, labels, query), start=1) if hit]
        r = int(relevant[query])
        assert first[query] == (ranks[0] if ranks else 0)
        assert hits_at_r[query] == sum(rank <= r for rank in ranks)
        for total, depth in zip(sums, (r, r + 1, cutoff or 0), strict=True):
            expected = 0.0
            for number, rank in enumerate(ranks, start=1):
                expected += number / rank if rank <= depth else 0.0
            assert total[query] == expected


@given(seed=st.integers(0, 2000), size=st.sampled_from([1, 31, 32, 70]), slow=st.booleans())
def test_lists_are_ordered_by_their_products_and_then_by_row(seed, size, slow):
    """Whole numbers: their products are exact, and many of them tie."""
    rng = np.random.default_rng(seed)
    query = torch.from_numpy(rng.integers(-2, 3, (QUERIES, size))).float()
    gallery = torch.from_numpy(rng.integers(-2, 3, (GALLERY, size))).float()
    chosen = rng.random((QUERIES, GALLERY)) < 0.4
    chosen[0] = False
    rows = torch.from_numpy(np.nonzero(chosen)[1])
    if slow:  # lists need not ascend
        rows = rows.flip(0)
        chosen = chosen[::-1]
    counts = torch.from_numpy(chosen.sum(1))
    listed = Listed(counts, rows, torch.empty(0))

    found = unpacked(scanning.packed(query, gallery, listed))

    scores = (query @ gallery.T)[listed.query, rows] + 0.0  # no negative zeros
    expected = ordered(listed._replace(scores=scores))
    assert torch.equal(found.rows, expected.rows)
    assert torch.equal(found.scores, expected.scores)


def test_a_gallery_larger_than_a_cache_is_read_by_pieces():
    """3 MiB, of which one is read at a time."""
    generator = torch.Generator().manual_seed(0)
    gallery = torch.randint(-3, 4, (3000, 256), generator=generator).float()
    query = torch.randint(-3, 4, (20, 256), generator=generator).float()
    rows = torch.cat([torch.randperm(3000, generator=generator)[:50].sort()[0] for _ in range(20)])
    listed = Listed(torch.full((20,), 50), rows, torch.empty(0))

    found = unpacked(scanning.packed(query, gallery, listed))

    expected = ordered(listed._replace(scores=(query @ gallery.T)[listed.query, rows]))
    assert torch.equal(found.rows, expected.rows)
    assert torch.equal(found.scores, expected.scores)
