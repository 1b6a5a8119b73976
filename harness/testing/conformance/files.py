"""Checks of what reads files or has little to promise: data sets, recipes, replays, backends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np

from harness import recipe
from harness.contracts import DataContext, SampleTable
from harness.errors import MissingDataError
from harness.evaluation.evaluate import evaluate
from harness.specs import BackendSpec, DatasetSpec, Params, RecipeSpec
from harness.testing.conformance.report import NotApplicableError, Subject


@dataclass(frozen=True, slots=True)
class DatasetTrial:
    """A data set under test."""

    card: DatasetSpec
    params: Params

    def table(self) -> SampleTable:
        """Build it where there are no files; a set that needs some is not looked at further."""
        with TemporaryDirectory() as folder:
            try:
                return self.card.build(self.params, DataContext(Path(folder)))
            except MissingDataError:
                raise NotApplicableError("its files are not here") from None


def missing_files_are_explained(trial: DatasetTrial) -> str | None:
    """Expect a MissingDataError that says how to get the files, where there are none."""
    with TemporaryDirectory() as folder:
        try:
            trial.card.build(trial.params, DataContext(Path(folder)))
        except MissingDataError as error:
            return None if error.hint else "the error does not say how to get the files"
    return None


def counts_are_as_declared(trial: DatasetTrial) -> str | None:
    """Expect as many images and classes as the card says."""
    table = trial.table()
    for what, declared, found in (
        ("images", trial.card.num_images, len(table)),
        ("classes", trial.card.num_classes, len(np.unique(table.label))),
    ):
        if declared is not None and declared != found:
            return f"{found} {what}, but the card says {declared}"
    return None


def reading_again_gives_the_same_rows(trial: DatasetTrial) -> str | None:
    """Expect the same samples in the same order each time."""
    one, other = trial.table(), trial.table()
    same = np.array_equal(one.sample_id, other.sample_id) and np.array_equal(
        one.label, other.label
    )
    return None if same else "rows differ from one reading to the next"


DATASET_CHECKS = (
    missing_files_are_explained,
    counts_are_as_declared,
    reading_again_gives_the_same_rows,
)


def the_file_is_the_announced_recipe(subject: Subject) -> str | None:
    """Expect a recipe in the file, of the name and the method on the card, with its source."""
    found = recipe.load(cast("RecipeSpec", subject.card))
    return None if found.source else "the recipe does not say where its values were published"


RECIPE_CHECKS = (the_file_is_the_announced_recipe,)


def an_adapter_is_built(subject: Subject) -> str | None:
    """Expect something that can be called with a case and a dtype."""
    built = subject.build(None)
    return None if callable(built) else f"{type(built).__name__} cannot be called"


REPLAY_CHECKS = (an_adapter_is_built,)


def backends_agree(subject: Subject) -> str | None:
    """Expect the metrics that the first-party backend gives."""
    card = cast("BackendSpec", subject.card)
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(60, 8)), rng.integers(0, 6, 60)
    expected = evaluate(values, labels, backend="torch")
    found = evaluate(values, labels, backend=card.name)
    differing = [name for name in expected if expected[name] != found[name]]
    return f"other values of {', '.join(differing)}" if differing else None


BACKEND_CHECKS = (backends_agree,)
