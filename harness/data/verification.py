"""Is a data set on this machine what it should be?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.contracts import SampleTable
from harness.data.images import open_image
from harness.data.manifest import in_threads, manifest_digest, with_content
from harness.data.opening import open_table
from harness.data.splits import assign
from harness.errors import HarnessError
from harness.protocol import SplitRule
from harness.specs import DatasetSpec, Params, PartSize

ReportProgress = Callable[[str, int, int], None]
"""Called with what is going on, the images done, and the number of all."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found.

    Attributes:
        root: Folder of the images; None for images in memory.
        parts: Images and classes of each part.
        official: The same for the published copy; empty where nobody says.
        digest: Of the manifest; equal for equal copies. None where a file gives no bytes.
        unreadable: What is wrong with each image that cannot be used.
    """

    root: Path | None
    parts: tuple[PartSize, ...]
    official: tuple[PartSize, ...]
    digest: str | None
    unreadable: tuple[str, ...]

    @property
    def problems(self) -> list[str]:
        """Return all that is wrong, in words."""
        return [*_differences(self.parts, self.official), *self.unreadable]


def verify(
    card: DatasetSpec, params: Params, root: Path, *, progress: ReportProgress | None = None
) -> Verification:
    """Count the parts of a data set, decode every image, and read every byte for the manifest.

    Args:
        card: What to verify.
        params: Of the data set.
        root: The folder of all data sets.
        progress: Told how far it is.

    Raises:
        MissingDataError: It is not there.
        HarnessError: Its files contradict one another; names the file and line.
    """
    tell = progress or _silent
    table = open_table(card, params, root)
    unreadable: list[str] = []
    if table.paths is not None:
        problems = in_threads(
            lambda row: _problem(table, row),
            range(len(table)),
            lambda done, total: tell(f"{card.name}, decoding", done, total),
        )
        unreadable = [problem for problem in problems if problem]
    return Verification(
        root=table.root,
        parts=part_sizes(table, official=card.parts),
        official=card.parts,
        digest=_digest(table, lambda done, total: tell(f"{card.name}, reading", done, total)),
        unreadable=tuple(unreadable),
    )


def _digest(table: SampleTable, progress: Callable[[int, int], None]) -> str | None:
    """Return the digest of what the files hold now; None where one of them cannot be read.

    Such a file was no readable image either, so it is reported already.
    """
    try:
        return manifest_digest(with_content(table, trust=False, progress=progress))
    except HarnessError:
        return None


def part_sizes(table: SampleTable, *, official: tuple[PartSize, ...] = ()) -> tuple[PartSize, ...]:
    """Return images and classes of each part, divided as `PartSize` says.

    Args:
        table: What to count.
        official: Gives the order of the parts.
    """
    if table.closed_set or (table.part is None and official):
        split = assign(table, SplitRule(scheme="half_classes"))
        rows = {"train": split.train, "test": split.query}
    elif table.part is None:
        rows = {"all": np.arange(len(table))}
    else:
        rows = {str(part): np.flatnonzero(table.part == part) for part in np.unique(table.part)}
    order = [one.part for one in official]
    names = sorted(rows, key=lambda name: order.index(name) if name in order else len(order))
    return tuple(
        PartSize(name, len(rows[name]), len(np.unique(table.label[rows[name]]))) for name in names
    )


def _problem(table: SampleTable, row: int) -> str:
    try:
        open_image(table, row)
    except HarnessError as error:
        return error.message
    return ""


def _differences(parts: tuple[PartSize, ...], official: tuple[PartSize, ...]) -> list[str]:
    found = {one.part: one for one in parts}
    return [
        f"part {one.part}: {_counts(found.get(one.part))}; the official copy has {_counts(one)}"
        for one in official
        if found.get(one.part) != one
    ]


def _counts(size: PartSize | None) -> str:
    return f"{size.images:,} images of {size.classes:,} classes" if size else "nothing"


def _silent(_: str, __: int, ___: int) -> None:
    """Tell nobody."""
