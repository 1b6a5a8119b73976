"""Splits: exact positions of the published protocols, and what holds for every table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contracts import SampleTable
from harness.data.splits import assign, training_labels, validation_block
from harness.errors import HarnessError
from harness.protocol import SplitRule


def table_of(
    labels: Sequence[int], *, part: Sequence[str] | None = None, closed_set: bool = False
) -> SampleTable:
    return SampleTable(
        name="birds",
        sample_id=np.arange(len(labels), dtype=np.int64),
        label=np.array(labels, dtype=np.int64),
        part=None if part is None else np.array(part),
        images=np.zeros((len(labels), 1, 1), dtype=np.uint8),
        closed_set=closed_set,
    )


def pairs_of(num_classes: int, *, first: int = 1) -> SampleTable:
    return table_of(np.repeat(np.arange(first, first + num_classes), 2).tolist())


def mlrc(folds: int = 4) -> SplitRule:
    return SplitRule(scheme="mlrc", folds=folds)


def official(folds: int = 0) -> SplitRule:
    return SplitRule(scheme="official", folds=folds)


def positions(table: SampleTable, rows: np.ndarray) -> list[int]:
    """Positions of the rows' classes among all sorted classes."""
    return np.unique(np.searchsorted(np.unique(table.label), table.label[rows])).tolist()


@pytest.mark.parametrize(
    ("num_classes", "num_test", "blocks"),
    [
        pytest.param(200, 100, [(75, 99), (0, 24), (25, 49), (50, 74)], id="cub200"),
        pytest.param(196, 98, [(74, 97), (0, 23), (25, 48), (49, 72)], id="cars196"),
        pytest.param(
            22_634, 11_317, [(8488, 11316), (0, 2828), (2829, 5657), (5658, 8486)], id="sop"
        ),
    ],
)
def test_mlrc_folds_validate_the_published_positions(num_classes, num_test, blocks):
    table = pairs_of(num_classes)
    half = set(range(num_classes - num_test))

    for fold, (low, high) in enumerate(blocks):
        split = assign(table, mlrc(), fold)

        validated = set(range(low, high + 1))
        assert positions(table, split.val) == sorted(validated)
        assert positions(table, split.train) == sorted(half - validated)
        assert positions(table, split.query) == list(range(num_classes - num_test, num_classes))


@pytest.mark.parametrize(
    ("num_classes", "never"),
    [
        pytest.param(200, set(), id="cub200"),
        pytest.param(196, {24, 73}, id="cars196"),
        pytest.param(22_634, {8487}, id="sop"),
    ],
)
def test_some_positions_never_validate(num_classes, never):
    table = pairs_of(num_classes)

    validated = {
        position
        for fold in range(4)
        for position in positions(table, assign(table, mlrc(), fold).val)
    }

    assert set(range(num_classes // 2)) - validated == never


def test_mlrc_puts_the_last_official_training_class_of_sop_into_test():
    table = pairs_of(22_634)

    split = assign(table, mlrc())

    assert 11_318 in table.label[split.query]
    assert 11_317 not in table.label[split.query]


def test_half_classes_trains_on_the_whole_first_half():
    table = table_of([5, 5, 9, 9, 2, 2, 7, 7, 8, 8])

    split = assign(table, SplitRule(scheme="half_classes"))

    assert sorted(set(table.label[split.train])) == [2, 5, 7]
    assert sorted(set(table.label[split.query])) == [8, 9]
    assert len(split.val) == 0
    assert np.array_equal(split.query, split.gallery)


def test_official_parts_are_taken_as_they_are():
    table = table_of([1, 1, 2, 2, 3, 3], part=["test"] * 2 + ["train"] * 4)

    split = assign(table, official())

    assert split.train.tolist() == [2, 3, 4, 5]
    assert split.query.tolist() == split.gallery.tolist() == [0, 1]


def test_official_query_and_gallery_stay_apart():
    parts = ["train", "train", "query", "gallery", "gallery"]

    split = assign(table_of([1, 1, 2, 2, 2], part=parts), official())

    assert split.query.tolist() == [2]
    assert split.gallery.tolist() == [3, 4]


def test_official_val_part_validates():
    parts = ["train", "train", "val", "val", "test", "test"]

    split = assign(table_of([1, 1, 2, 2, 3, 3], part=parts), official())

    assert split.val.tolist() == [2, 3]


def test_official_folds_divide_the_training_classes_only():
    labels = np.repeat(np.arange(14), 2)
    parts = np.where(labels < 10, "train", "test")
    table = table_of(labels.tolist(), part=parts.tolist())

    first, second = (assign(table, official(folds=4), fold) for fold in (0, 1))

    assert sorted(set(table.label[first.val])) == [8, 9]
    assert sorted(set(table.label[second.val])) == [0, 1]
    assert sorted(set(table.label[second.train])) == [2, 3, 4, 5, 6, 7, 8, 9]
    assert sorted(set(table.label[second.query])) == [10, 11, 12, 13]


def test_closed_set_shares_classes():
    table = table_of([1, 1, 1, 1], part=["train", "train", "test", "test"], closed_set=True)

    split = assign(table, SplitRule(scheme="closed_set"))

    assert split.train.tolist() == [0, 1]
    assert split.query.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("table", "rule", "message"),
    [
        pytest.param(
            table_of([1, 1, 1, 1], part=["train", "train", "test", "test"], closed_set=True),
            official(),
            "share classes",
            id="closed-set-table",
        ),
        pytest.param(
            table_of([1, 1, 2, 2, 1], part=["train", "train", "test", "test", "test"]),
            official(),
            "train and test share 1 classes, class 1 is the first",
            id="shared-class",
        ),
        pytest.param(pairs_of(4), official(), "defines no parts", id="no-parts"),
        pytest.param(
            table_of([1, 1, 2, 2, 3], part=["train", "train", "test", "test", ""]),
            official(),
            "1 rows have part ''",
            id="a-row-without-part",
        ),
        pytest.param(
            table_of([1, 1, 2, 2], part=["train", "train", "query", "query"]),
            official(),
            "only one of the parts query and gallery",
            id="no-gallery",
        ),
        pytest.param(
            table_of([1, 1, 2, 2, 3, 3], part=["train"] * 2 + ["query", "gallery"] + ["test"] * 2),
            official(),
            "test beside query",
            id="three-test-parts",
        ),
        pytest.param(
            table_of([1, 1, 2, 3, 3], part=["train", "train", "query", "gallery", "gallery"]),
            official(),
            "no class of|no query has its class",
            id="query-without-match",
        ),
        pytest.param(
            table_of([1, 1, 2, 2], part=["train", "train", "train", "train"]),
            official(),
            "test part is empty",
            id="no-test",
        ),
        pytest.param(
            table_of([1, 2, 3, 3], part=["train", "train", "test", "test"]),
            official(),
            "no class of the train part has two images",
            id="single-images",
        ),
        pytest.param(pairs_of(6), mlrc(), "6 classes are too few for 4", id="too-few-classes"),
        pytest.param(
            table_of([1, 1, 2, 2, 3, 3], part=["train"] * 2 + ["val"] * 2 + ["test"] * 2),
            official(folds=2),
            "brings a val part",
            id="val-part-and-folds",
        ),
    ],
)
def test_a_useless_split_is_refused(table, rule, message):
    with pytest.raises(HarnessError, match=message):
        assign(table, rule)


def test_a_fold_that_does_not_exist_is_refused():
    with pytest.raises(HarnessError, match=r"fold 4 does not exist: .*\[0, 1, 2, 3\]"):
        assign(pairs_of(16), mlrc(), 4)


class_counts = st.integers(8, 60)
fold_counts = st.integers(2, 4)


@given(num_classes=class_counts, folds=fold_counts, fold=st.integers(0, 3))
def test_every_row_is_in_exactly_one_part(num_classes, folds, fold):
    table = pairs_of(num_classes)

    split = assign(table, mlrc(folds), fold % folds)

    rows = np.concatenate([split.train, split.val, split.query])
    assert np.array_equal(np.sort(rows), np.arange(len(table)))


@given(num_classes=class_counts, folds=fold_counts)
def test_no_two_parts_share_a_class_and_test_is_the_same_in_all_folds(num_classes, folds):
    table = pairs_of(num_classes)

    splits = [assign(table, mlrc(folds), fold) for fold in range(folds)]

    for split in splits:
        classes = [set(table.label[rows]) for rows in (split.train, split.val, split.query)]
        assert sum(map(len, classes)) == len(set.union(*classes))
        assert np.array_equal(split.query, splits[0].query)


@given(num_classes=class_counts, folds=fold_counts)
def test_no_class_validates_twice(num_classes, folds):
    table = pairs_of(num_classes)

    validated = [
        label
        for fold in range(folds)
        for label in set(table.label[assign(table, mlrc(folds), fold).val])
    ]

    assert len(validated) == len(set(validated))


@given(data=st.data(), num_classes=st.integers(8, 20))
def test_only_the_order_of_class_ids_matters(data, num_classes):
    steps = data.draw(st.lists(st.integers(1, 9), min_size=num_classes, max_size=num_classes))
    table = pairs_of(num_classes, first=0)
    renamed = replace(table, label=np.cumsum(steps)[table.label])

    before, after = assign(table, mlrc(2), 1), assign(renamed, mlrc(2), 1)

    for name in ("train", "val", "query", "gallery"):
        assert np.array_equal(getattr(before, name), getattr(after, name))


@given(size=st.integers(1, 4), fold=st.integers(0, 3), extra=st.integers(0, 7))
def test_a_validation_block_is_the_rolled_list_cut_in_two(size, fold, extra):
    classes = np.arange(4 * size + extra)

    blocks = validation_block(classes, size=size, fold=fold, folds=4)

    start = int(fold / 4 * len(classes))  # the arithmetic of the published code
    order = [(start + step) % len(classes) for step in range(len(classes))]
    assert blocks.train.tolist() == sorted(order[: len(classes) - size])
    assert blocks.val.tolist() == sorted(order[len(classes) - size :])


def test_training_labels_count_the_sorted_classes_from_zero():
    table = table_of([40, 40, 7, 7, 90, 90, 95, 95])
    split = assign(table, SplitRule(scheme="half_classes"))

    labels, class_ids = training_labels(table, split)

    assert labels.tolist() == [1, 1, 0, 0]
    assert class_ids.tolist() == [7, 40]
    assert labels.dtype == np.int64
