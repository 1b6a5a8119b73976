"""What the parts hand to one another; no behaviour beyond checking itself.

Shapes: B batch, F features, D embedding, C training classes, Q queries, G gallery, N samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from harness.errors import HarnessError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Generator, Tensor, nn


# --- what a loader gives -----------------------------------------------------------------------


@runtime_checkable
class ImageBatch(Protocol):
    """Images of one batch, preprocessed, on any device."""

    @property
    def images(self) -> Tensor:
        """(B, channels, H, W) float32."""
        ...

    @property
    def labels(self) -> Tensor:
        """(B,) int64; in [0, C) for training, the data set's class ids for evaluation."""
        ...

    @property
    def sample_index(self) -> Tensor:
        """(B,) int64; rows of the training part, or sample ids for evaluation."""
        ...


# --- what a loss sees -------------------------------------------------------------------------


class Pairs(NamedTuple):
    """Index tensors into the batch: (anchor, positive) and (anchor, negative) pairs."""

    anchor_positive: Tensor
    positive: Tensor
    anchor_negative: Tensor
    negative: Tensor


class Triplets(NamedTuple):
    """Index tensors into the batch, all of one length."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor


Tuples = Pairs | Triplets


@dataclass(frozen=True, slots=True)
class Batch:
    """One training batch, as a miner or a loss sees it.

    Attributes:
        embeddings: (B, D), as the head gives them (L2-normalised only if the protocol says so).
        labels: (B,) int64 in [0, C): positions in the sorted training classes.
        features: (B, F), pooled output of the backbone; None where there is no backbone.
        sample_index: (B,) int64 in [0, N): rows of the training part.
        tuples: What the miner selected; None without a miner.
    """

    embeddings: Tensor
    labels: Tensor
    features: Tensor | None = None
    sample_index: Tensor | None = None
    tuples: Tuples | None = None

    @classmethod
    def of(
        cls,
        embeddings: Tensor,
        labels: Tensor,
        *,
        features: Tensor | None = None,
        sample_index: Tensor | None = None,
        tuples: Tuples | None = None,
    ) -> Batch:
        """Build a batch after checking that lengths agree.

        Raises:
            HarnessError: Embeddings are not a matrix, or lengths differ.
        """
        if embeddings.ndim != 2:  # noqa: PLR2004 - a matrix has two dimensions
            raise HarnessError(f"embeddings must be (B, D), got {tuple(embeddings.shape)}")
        if labels.shape != embeddings.shape[:1]:
            raise HarnessError(
                f"labels {tuple(labels.shape)} do not fit embeddings {tuple(embeddings.shape)}"
            )
        return cls(embeddings, labels, features, sample_index, tuples)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where in the training a step is; all counts from zero, totals None when unknown."""

    epoch: int = 0
    step: int = 0
    total_epochs: int | None = None
    total_steps: int | None = None


@dataclass(frozen=True, slots=True)
class ParamGroup:
    """Parameters that are trained with settings of their own.

    Attributes:
        name: Unique inside a loss; the column of its learning rate in `epochs`.
        params: The parameters themselves.
        lr: Absolute learning rate; excludes `lr_scale`.
        lr_scale: Factor on the learning rate of the optimizer the group joins.
        weight_decay: None takes the optimizer's.
    """

    name: str
    params: Sequence[nn.Parameter]
    lr: float | None = None
    lr_scale: float = 1.0
    weight_decay: float | None = None


@runtime_checkable
class Objective(Protocol):
    """A loss at work: a scalar, or a mapping whose `loss` entry is the scalar to minimise."""

    def __call__(self, batch: Batch, progress: Progress) -> Tensor | Mapping[str, Tensor]:
        """Return the loss of one batch, with its terms if it has any."""
        ...


@runtime_checkable
class Miner(Protocol):
    """Selects pairs or triplets of a batch."""

    def __call__(self, batch: Batch, progress: Progress) -> Tuples:
        """Return index tuples into the batch."""
        ...


@runtime_checkable
class Distance(Protocol):
    """How far each gallery item is from each query; smaller is nearer."""

    def __call__(self, query: Tensor, gallery: Tensor, /) -> Tensor:
        """Return (Q, G) from (Q, D) and (G, D)."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """Chooses the rows of each training batch.

    The batches of an epoch are a function of (seed, epoch) alone, never of earlier calls: a
    resumed run asks for epoch 7 without having asked for epochs 0 to 6.
    """

    def batches(self, epoch: int) -> Iterator[Sequence[int]]:
        """Yield the batches of one epoch; values are rows of the training part, [0, N)."""
        ...


@dataclass(frozen=True, slots=True)
class LossParts:
    """What a loss brings to a run; all but the first optional.

    Attributes:
        objective: Module called as `objective(batch, progress)`; see `Objective`. State that must
            survive a checkpoint is a buffer or a parameter of it.
        head: Module features (B, F) -> embeddings (B, D); None takes the protocol's head.
        distance: Ranking distance; None takes the protocol's.
        param_groups: Learnable parameters of the objective. Parameters of `objective` that no
            group names are added as a group `loss` with the optimizer's own settings.
    """

    objective: nn.Module
    head: nn.Module | None = None
    distance: Distance | None = None
    param_groups: tuple[ParamGroup, ...] = ()


# --- what a backend of the evaluation gives ----------------------------------------------------


class Nearest(NamedTuple):
    """Gallery rows with the largest inner products with each query, largest first.

    Attributes:
        scores: (Q, W) the products, of the type of the query.
        rows: (Q, W) int64.
    """

    scores: Tensor
    rows: Tensor


@runtime_checkable
class Index(Protocol):
    """A gallery, made ready to be searched."""

    def __call__(self, query: Tensor, width: int) -> Nearest:
        """Return the `width` largest inner products of each query (Q, K) with the gallery.

        The search is exact: each score is a dot product in the type of the query, in any order
        of summation, and no row that is left out has a larger one.
        """
        ...


@dataclass(frozen=True, slots=True)
class Backend:
    """How the nearest items are found; it changes the speed of a ranking and no result.

    Attributes:
        name: Stored with what it ranked.
        index: Gallery (G, K) -> `Index`; None ranks by the core's own matrix products.
    """

    name: str
    index: Callable[[Tensor], Index] | None = None


TORCH = Backend("torch")


# --- what a card's `build` is given -----------------------------------------------------------


@runtime_checkable
class LossBuilder(Protocol):
    """Builds another registered loss, for a loss that adds something to it."""

    def __call__(
        self, name: str, params: Mapping[str, Any], context: BuildContext, /
    ) -> LossParts:
        """Return the loss; HarnessError where its name or a parameter is unknown."""
        ...


@dataclass(frozen=True, slots=True)
class BuildContext:
    """Facts a loss or a miner may depend on when it is built.

    Attributes:
        num_classes: C, the number of training classes.
        embedding_dim: D.
        feature_dim: F; None when unknown.
        generator: The only source of randomness a component may use; None means it must not draw.
        class_counts: Training images per class, in label order; None when unknown.
        num_samples: N, the number of training rows; None when unknown.
        batch_size: B; None when unknown.
        total_epochs: Budget of the run; None when unknown.
        build_loss: Builds another registered loss; None where no registry is at hand.
    """

    num_classes: int = 2
    embedding_dim: int = 2
    feature_dim: int | None = None
    generator: Generator | None = None
    class_counts: tuple[int, ...] | None = None
    num_samples: int | None = None
    batch_size: int | None = None
    total_epochs: int | None = None
    build_loss: LossBuilder | None = None


@dataclass(frozen=True, slots=True)
class SamplerContext:
    """What a sampler is built from.

    Attributes:
        labels: (N,) int64 labels of the training rows, in [0, C).
        batch_size: B.
        iterations: Batches per epoch the protocol asks for; None means one pass, whatever the
            sampler calls a pass.
        seed: Root of the sampler's stream; use `derive_seed(seed, "…", epoch)`.
    """

    labels: NDArray[np.int64]
    batch_size: int
    iterations: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class BackboneContext:
    """What a backbone is built from.

    Attributes:
        weights: `none`, a key of the card's `weights`, or a path to a state dict.
        folder: Where downloaded weight files are kept.
        download: Whether a missing file may be fetched; otherwise it is a MissingDataError.
    """

    weights: str = "none"
    folder: Path | None = None
    download: bool = False


@dataclass(frozen=True, slots=True)
class DataContext:
    """Where a data set may look for its files.

    Attributes:
        root: Folder given by `--data`, `HARNESS_DATA` or the settings.
        download: Whether a missing file may be fetched.
    """

    root: Path
    download: bool = False


# --- data ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class SampleTable:
    """One row per image of a data set, in a canonical order that no file system decides.

    Exactly one of `paths` and `images` is set.

    Attributes:
        name: Data set name, as the protocol writes it.
        sample_id: (N,) int64, unique and stable: the same image has the same id on every machine.
        label: (N,) int64 class ids as the data set numbers them (CUB and Cars from 1).
        class_names: One name per class id that occurs.
        part: (N,) official part of each row: "train", "val", "test", "query", "gallery", or ""
            where the data set defines none.
        root: Folder that `paths` are relative to.
        paths: (N,) relative POSIX paths.
        images: (N, H, W) or (N, H, W, 3) uint8.
        content: (N, 32) uint8, SHA-256 of the file of each row; None until it is read, and where
            there are no files. `harness` fills it in.
        closed_set: The official parts share classes (CUB's and Cars' train/test files do), so
            they must not be used as a zero-shot split.
    """

    name: str
    sample_id: NDArray[np.int64]
    label: NDArray[np.int64]
    class_names: Mapping[int, str] = field(default_factory=dict[int, str])
    part: NDArray[np.str_] | None = None
    root: Path | None = None
    paths: Sequence[str] | None = None
    images: NDArray[np.uint8] | None = None
    content: NDArray[np.uint8] | None = None
    closed_set: bool = False

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.sample_id)

    def __post_init__(self) -> None:
        """Check the table; a data set that is wrong must not reach a split."""
        check_sample_table(self)


def check_sample_table(table: SampleTable) -> None:
    """Raise a HarnessError that names the first thing wrong with a sample table."""
    import numpy as np

    rows = len(table.sample_id)
    if rows == 0:
        raise HarnessError(f"data set {table.name!r} has no images")
    columns = ("label", "part", "paths", "images", "content")
    for name, column in ((name, getattr(table, name)) for name in columns):
        if column is not None and len(column) != rows:
            raise HarnessError(
                f"data set {table.name!r}: {len(column)} {name} for {rows} sample ids"
            )
    if (table.paths is None) == (table.images is None):
        raise HarnessError(f"data set {table.name!r} must have either paths or images")
    for name, ids in (("sample_id", table.sample_id), ("label", table.label)):
        if ids.dtype != np.int64:
            raise HarnessError(f"data set {table.name!r}: {name} must be int64, is {ids.dtype}")
    if len(np.unique(table.sample_id)) != rows:
        raise HarnessError(f"data set {table.name!r} has sample ids that occur twice")


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Row indices of a table for each part of one fold.

    Attributes:
        train: Rows trained on.
        val: Rows of the validation part; empty when the protocol has none.
        query: Test queries.
        gallery: Test gallery; the same rows as `query` when a data set defines no two sides.
        fold: Which fold this is.
    """

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    query: NDArray[np.int64]
    gallery: NDArray[np.int64]
    fold: int = 0
