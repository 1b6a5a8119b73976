"""Who trains, who validates, who is tested: pure functions of a table and a rule.

Shapes: N rows of a table, n rows of one part, C classes of a part.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.contracts import SampleTable, Split
from harness.data.manifest import manifest_digest
from harness.errors import HarnessError
from harness.protocol import SplitRule

Rows = NDArray[np.int64]

ZERO_SHOT_HINT = (
    "set split.scheme to half_classes or mlrc, or to closed_set if shared classes are meant"
)
PARTS = ("train", "val", "test", "query", "gallery")


class ClassBlocks(NamedTuple):
    """Sorted class ids of the training and of the validation part."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]


class TrainLabels(NamedTuple):
    """Labels of the training rows.

    Attributes:
        labels: (n,) in [0, C), in the order of `Split.train`.
        class_ids: (C,) sorted; `class_ids[labels]` are the table's own labels.
    """

    labels: NDArray[np.int64]
    class_ids: NDArray[np.int64]


def assign(table: SampleTable, rule: SplitRule, fold: int = 0) -> Split:
    """Return the rows of each part, ascending; only the order of class ids matters.

    * `mlrc` and `half_classes`: of N sorted classes the last N // 2 are test, whatever the data
      set's own parts say. `half_classes` trains on all others, `mlrc` validates on one block of
      them (see `validation_block`) of N // (2 * folds) classes.
    * `official`: the data set's own parts; with folds, one block of the C training classes
      validates, C // folds classes wide.
    * `closed_set`: the data set's own parts, which share classes.

    Raises:
        HarnessError: The table cannot be divided so, or a part would be useless for retrieval.
    """
    if fold not in rule.fold_indices:
        raise HarnessError(
            f"fold {fold} does not exist: the split has folds {list(rule.fold_indices)}"
        )
    if rule.scheme in {"mlrc", "half_classes"}:
        split = _halves(table, rule, fold)
    else:
        split = _official(table, rule, fold)
    _check(table, split, closed_set=rule.scheme == "closed_set")
    return split


def validation_block(
    classes: NDArray[np.int64], *, size: int, fold: int, folds: int
) -> ClassBlocks:
    """Divide n sorted classes as "A Metric Learning Reality Check" does (arXiv:2003.08505).

    A fold starts at position `fold * n // folds`; n - size classes from there on train, the
    `size` that follow validate, both wrapping round. So the last block validates in fold 0, and
    where n is no multiple of `folds` a few positions never validate (24 and 73 of Cars-196).

    >>> validation_block(np.arange(8), size=2, fold=1, folds=4)
    ClassBlocks(train=array([2, 3, 4, 5, 6, 7]), val=array([0, 1]))
    """
    rolled = np.roll(classes, -(fold * len(classes) // folds))
    return ClassBlocks(
        train=np.sort(rolled[: len(classes) - size]), val=np.sort(rolled[len(classes) - size :])
    )


def training_labels(table: SampleTable, split: Split) -> TrainLabels:
    """Number the training classes from zero in the order of their ids."""
    class_ids, labels = np.unique(table.label[split.train], return_inverse=True)
    return TrainLabels(labels.astype(np.int64).reshape(-1), class_ids)


def data_digest(table: SampleTable, rule: SplitRule) -> str:
    """Return a SHA-256 of the data set and of its division in every fold the protocol runs.

    Two results are comparable only when this and the protocol's digest are equal.
    """
    digest = hashlib.sha256(manifest_digest(table).encode())
    for fold in rule.fold_indices:
        split = assign(table, rule, fold)
        for name in ("train", "val", "query", "gallery"):
            sample_ids = np.sort(table.sample_id[getattr(split, name)])
            digest.update(f"{fold} {name} ".encode() + sample_ids.tobytes())
    return digest.hexdigest()


def _halves(table: SampleTable, rule: SplitRule, fold: int) -> Split:
    """Split by class order alone: the second half of the classes is test."""
    classes = np.unique(table.label)
    num_test = len(classes) // 2
    blocks = ClassBlocks(classes[: len(classes) - num_test], classes[:0])
    if rule.scheme == "mlrc":
        size = len(classes) // (2 * rule.folds)
        _need_block(table, size, len(classes), rule.folds)
        blocks = validation_block(blocks.train, size=size, fold=fold, folds=rule.folds)
    test = _rows(np.isin(table.label, classes[len(classes) - num_test :]))
    return Split(
        train=_rows(np.isin(table.label, blocks.train)),
        val=_rows(np.isin(table.label, blocks.val)),
        query=test,
        gallery=test,
        fold=fold,
    )


def _official(table: SampleTable, rule: SplitRule, fold: int) -> Split:
    """Split by the parts that the data set defines."""
    if rule.scheme == "official" and table.closed_set:
        raise HarnessError(
            f"data set {table.name!r}: its official train and test parts share classes, so they "
            "are no zero-shot split",
            hint=ZERO_SHOT_HINT,
        )
    rows = _rows_of_parts(table)
    train, val = rows["train"], rows["val"]
    if rule.folds:
        if len(val):
            raise HarnessError(
                f"data set {table.name!r} brings a val part, and the split asks for "
                f"{rule.folds} folds",
                hint="set split.folds: 0",
            )
        classes = np.unique(table.label[train])
        size = len(classes) // rule.folds
        _need_block(table, size, len(classes), rule.folds)
        blocks = validation_block(classes, size=size, fold=fold, folds=rule.folds)
        val = train[np.isin(table.label[train], blocks.val)]
        train = train[np.isin(table.label[train], blocks.train)]
    two_sides = len(rows["query"]) > 0
    query = rows["query"] if two_sides else rows["test"]
    gallery = rows["gallery"] if two_sides else rows["test"]
    return Split(train=train, val=val, query=query, gallery=gallery, fold=fold)


def _rows_of_parts(table: SampleTable) -> dict[str, Rows]:
    """Return the rows of each official part; test and query/gallery exclude each other."""
    part = table.part
    if part is None or not np.any(part != ""):
        raise HarnessError(
            f"data set {table.name!r} defines no parts",
            hint="set split.scheme to half_classes or mlrc",
        )
    unknown = sorted(set(np.unique(part).tolist()) - set(PARTS))
    if unknown:
        count = int(np.sum(part == unknown[0]))
        raise HarnessError(
            f"data set {table.name!r}: {count} rows have part {unknown[0]!r}, "
            f"known are {', '.join(PARTS)}"
        )
    rows = {name: _rows(part == name) for name in PARTS}
    if (len(rows["query"]) > 0) != (len(rows["gallery"]) > 0):
        raise HarnessError(f"data set {table.name!r} has only one of the parts query and gallery")
    if len(rows["query"]) and len(rows["test"]):
        raise HarnessError(f"data set {table.name!r} has a part test beside query and gallery")
    return rows


def _rows(mask: NDArray[np.bool_]) -> Rows:
    return np.flatnonzero(mask).astype(np.int64)


def _need_block(table: SampleTable, size: int, num_classes: int, folds: int) -> None:
    """Refuse folds that leave the validation part without a class."""
    if size == 0:
        raise HarnessError(
            f"data set {table.name!r}: {num_classes} classes are too few for {folds} "
            "validation folds",
            hint="lower split.folds",
        )


def _check(table: SampleTable, split: Split, *, closed_set: bool) -> None:
    """Check what every split promises; a split that is wrong must not reach training."""
    test = np.union1d(split.query, split.gallery)
    parts = {"train": split.train, "val": split.val, "test": test}
    for name, rows in parts.items():
        if len(rows) == 0 and name != "val":
            raise HarnessError(f"data set {table.name!r}: the {name} part is empty")
        if len(rows) and np.unique(table.label[rows], return_counts=True)[1].max() < 2:  # noqa: PLR2004 - a pair
            raise HarnessError(
                f"data set {table.name!r}: no class of the {name} part has two images, so nothing "
                "can be retrieved"
            )
    if not np.isin(table.label[split.query], table.label[split.gallery]).any():
        raise HarnessError(f"data set {table.name!r}: no query has its class in the gallery")
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        shared_rows = np.intersect1d(parts[first], parts[second])
        assert not len(shared_rows), f"{first} and {second} share rows {shared_rows[:5]}"
        shared = np.intersect1d(table.label[parts[first]], table.label[parts[second]])
        if len(shared) and not closed_set:
            raise HarnessError(
                f"data set {table.name!r}: {first} and {second} share {len(shared)} classes, "
                f"class {shared[0]} is the first",
                hint=ZERO_SHOT_HINT,
            )
