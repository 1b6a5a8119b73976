"""Fast scores in any number type leave the same exact order."""

import numpy as np
import pytest
import torch

from harness.evaluation import Embeddings
from harness.evaluation.neighbours import join
from harness.evaluation.pairs import Listed
from harness.evaluation.problem import pose
from harness.evaluation.products import FORMULAS, ProductScorer
from harness.evaluation.rows import rank_rows
from harness.evaluation.scores import COARSE, FINE, QUICK
from harness.evaluation.sieve import Sieve

MEMORY = 2**26
EVERYTHING = torch.inf

pytestmark = pytest.mark.usefixtures("each_scan")


def items_of(values, labels, first_id=0):
    ids = torch.arange(first_id, first_id + len(labels))
    return Embeddings(torch.from_numpy(values).float(), torch.from_numpy(labels), ids)


def clustered(seed, *, rows=700, dims=24, classes=90, spread=1.0, first_id=0):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, rows)
    centres = np.random.default_rng(9).normal(size=(classes, dims))
    return items_of(centres[labels] + spread * draw.normal(size=(rows, dims)), labels, first_id)


def many_ties(seed):
    draw = np.random.default_rng(seed)
    return items_of(draw.integers(-2, 3, (600, 5)) * 1.0, draw.integers(0, 80, 600))


PROBLEMS = {
    "clear": clustered(0, spread=0.3),
    "deep first hits": clustered(1, spread=50.0),
    "large classes": clustered(2, classes=5),
    "ties": many_ties(3),
    "nearly collapsed": items_of(
        1 + 1e-6 * np.random.default_rng(4).normal(size=(300, 8)), np.arange(300) % 40
    ),
}


def scorer_of(items, *, distance="cosine", memory=MEMORY):
    return ProductScorer(FORMULAS[distance], items.values, items.values, memory=memory, workers=1)


def assert_same(first, second):
    assert torch.equal(first.first_hit_rank, second.first_hit_rank)
    assert torch.equal(first.hits_at_r, second.hits_at_r)
    assert torch.equal(first.neighbor_rows, second.neighbor_rows)
    assert torch.equal(first.neighbor_scores, second.neighbor_scores)
    for left, right in zip(first.precision_sums, second.precision_sums, strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("types", [(QUICK, COARSE, FINE), (COARSE, FINE)], ids=["quick", "coarse"])
def test_a_quicker_number_type_changes_no_bit(types, name, distance):
    items = PROBLEMS[name]
    problem = pose(items, items, distance=distance, neighbors=10)
    everything = torch.arange(len(items))

    found = join(rank_rows(problem, everything, MEMORY, types=types))

    assert_same(found, join(rank_rows(problem, everything, MEMORY, types=[FINE])))


def test_a_quicker_number_type_changes_no_bit_for_a_gallery_apart():
    query, gallery = clustered(5, rows=150), clustered(6, rows=611, first_id=100)
    problem = pose(query, gallery, distance="cosine", neighbors=10)
    everything = torch.arange(len(query))

    found = join(rank_rows(problem, everything, MEMORY, types=[QUICK, COARSE, FINE]))

    assert_same(found, join(rank_rows(problem, everything, MEMORY, types=[FINE])))


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("dtype", [QUICK, COARSE, FINE])
def test_no_fast_score_is_further_from_the_exact_one_than_its_bound(dtype, distance):
    items = clustered(7, rows=200, dims=300)
    values = items.values.double().numpy()
    if distance == "cosine":
        unit = values / np.linalg.norm(values, axis=1, keepdims=True)
        exact = unit @ unit.T
    else:
        exact = -0.5 * ((values[:, None] - values) ** 2).sum(2)

    fast = scorer_of(items, distance=distance).fast(dtype)

    scores = fast.block(slice(0, 200))[:, :200].double()
    rounding = torch.finfo(dtype).eps * scores.abs()
    off = (scores - torch.from_numpy(exact)).abs() - rounding
    assert (off <= fast.error(slice(0, 200)).unsqueeze(1)).all()


@pytest.mark.parametrize("depth", [1, 10, 60, 599])
def test_the_sieve_keeps_everything_that_may_be_among_the_nearest(depth):
    items = many_ties(8)
    scorer = scorer_of(items)
    fast = scorer.fast(QUICK)
    scores = fast.block(slice(0, 600))
    scores[:, 600:] = -torch.inf
    values = items.values.double()
    unit = torch.nn.functional.normalize(values)
    nearest = (unit @ unit.T).topk(depth).indices

    listed = Sieve(scores, fast.error(slice(0, 600))).nearest(depth, most=EVERYTHING)
    assert listed is not None

    exact = unit @ unit.T
    worst = exact.gather(1, nearest).amin(1)
    kept = torch.zeros(600, 600, dtype=torch.bool)
    kept[listed.query, listed.rows] = True
    assert kept[exact > worst.unsqueeze(1) + 1e-9].all()
    assert (listed.counts >= depth).all()


def test_exact_scores_do_not_depend_on_the_memory():
    items = clustered(9, rows=64, dims=129)
    draw = np.random.default_rng(0)
    rows = torch.from_numpy(draw.integers(0, 64, 500))
    counts = torch.bincount(torch.from_numpy(draw.integers(0, 64, 500)), minlength=64)
    listed = Listed(counts, rows, torch.zeros(500))
    everything = torch.arange(64)

    with_room = scorer_of(items).exact(everything, listed)
    without = scorer_of(items, memory=0).exact(everything, listed)

    assert torch.equal(with_room, without)


def test_rows_that_are_equal_have_equal_exact_scores():
    draw = np.random.default_rng(1)
    distinct = draw.normal(size=(7, 131)).astype(np.float32)
    which = draw.integers(0, 7, 90)
    items = items_of(distinct[which], which)
    listed = Listed(torch.full((90,), 90), torch.arange(90).repeat(90), torch.zeros(8100))

    exact = scorer_of(items).exact(torch.arange(90), listed).view(90, 90)

    for twin in range(7):
        columns = exact[:, which == twin]
        assert (columns == columns[:, :1]).all()


def test_a_collapsed_set_too_large_to_score_pair_by_pair_is_ranked_by_row():
    values = np.eye(3)[np.arange(16_500) % 3]
    items = items_of(values, np.arange(16_500) % 5000)
    problem = pose(items, items, distance="cosine", neighbors=4)

    found = join(rank_rows(problem, torch.arange(300), 2**30, types=[FINE]))

    assert found.neighbor_rows[0].tolist() == [3, 6, 9, 12]
    assert found.neighbor_rows[7].tolist() == [1, 4, 10, 13]
    # 5000 = 2 (mod 3): the classmates of 0 point elsewhere, 15000 alone does not
    assert found.first_hit_rank[0] == 15_000 // 3


def test_what_is_known_of_a_block_keeps_none_of_its_lists_alive():
    values = torch.randn(600, 8, generator=torch.Generator().manual_seed(3))
    labels = torch.zeros(600, dtype=torch.long)  # one class: the lists are as long as the gallery
    items = Embeddings(values, labels, torch.arange(600))
    problem = pose(items, items, distance="cosine", neighbors=4)

    for facts in rank_rows(problem, torch.arange(600), 2**30):
        for part in (facts.neighbor_rows, facts.neighbor_scores):
            assert part.untyped_storage().nbytes() == 8 * part.numel()
