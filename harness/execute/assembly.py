"""From a planned run to the objects that train it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.contracts import (
    BackboneContext,
    Backend,
    BuildContext,
    DataContext,
    Distance,
    LossParts,
    SamplerContext,
    SampleTable,
    Split,
)
from harness.data.fetching import fetch
from harness.data.loading import Loaders, make_loaders
from harness.data.manifest import with_content
from harness.data.splits import TrainLabels, assign, training_labels
from harness.errors import HarnessError, MissingDataError
from harness.execute.events import Downloading, ExecutionOptions, Listener
from harness.plan import Chosen, Feed, Run
from harness.registry.building import loss_builder
from harness.seeding import derive_seed, torch_generator
from harness.specs import BackboneSpec, DatasetSpec
from harness.training.encoder import Encoder, build_encoder
from harness.training.learner import Learner, make_learner

if TYPE_CHECKING:
    from torch import Generator, nn

# A smoke run tests this many classes, with this many images each: enough for every metric.
SMOKE_CLASSES = 8
SMOKE_IMAGES_PER_CLASS = 4


@dataclass(frozen=True, slots=True)
class Assembled:
    """Everything one run needs, built and on its device.

    Attributes:
        table: The data set.
        split: Rows of each part for the run's fold.
        labels: Training labels in [0, C), and the class ids they stand for.
        loaders: Batches of images.
        learner: Encoder, objective, miner and optimizers.
        distance: Of the ranking: the loss's own, or the protocol's.
        device: Where the learner lives.
        backend: What ranks.
        memory: Bytes a ranking may use above the embeddings.
        compiled: Whether torch compiles the backbone.
    """

    table: SampleTable
    split: Split
    labels: TrainLabels
    loaders: Loaders
    learner: Learner
    distance: Distance | str
    device: torch.device
    backend: Backend
    memory: int
    compiled: bool


def resolve_device(name: str) -> torch.device:
    """Return the device a name asks for; `auto` prefers a GPU.

    Raises:
        HarnessError: No such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise HarnessError(
            f"unknown device {name!r}", hint="use auto, cpu, cuda or cuda:0"
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise HarnessError(
            f"device {name!r} asked for, but torch sees no GPU", hint="use --device cpu"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise HarnessError(f"device {name!r} asked for, of {torch.cuda.device_count()} GPUs")
    return device


def open_table(
    run: Run | Feed, options: ExecutionOptions, emit: Listener = lambda _: None
) -> SampleTable:
    """Read the run's data set and the content of its files; as `find_table`."""
    return with_content(find_table(run, options, emit))


def find_table(
    run: Run | Feed, options: ExecutionOptions, emit: Listener = lambda _: None
) -> SampleTable:
    """Read the run's data set, its files unread, after fetching it if that is allowed.

    Args:
        run: Whose data set.
        options: Where it is, and whether it may be fetched.
        emit: Hears of a download.

    Raises:
        MissingDataError: It is not on this machine, and may not or cannot be fetched.
    """
    card, params = run.dataset.card, run.dataset.params
    assert isinstance(card, DatasetSpec), card
    partial = isinstance(run, Feed) or run.smoke  # enough to look at, or to rehearse with
    if partial and "allow_partial" in type(params).model_fields:
        params = params.model_copy(update={"allow_partial": True})
    context = DataContext(root=options.data_root, download=options.download)
    try:
        table: SampleTable = card.build(params, context)
    except MissingDataError:
        if not (options.download and card.files):
            raise
        fetch(
            card,
            options.data_root,
            progress=lambda name, done, total: emit(Downloading(name, done, total)),
        )
        table = card.build(params, context)
    return table


def run_root(run: Run | Feed) -> int:
    """Return the seed that all streams of a run derive from; folds of one seed differ."""
    return derive_seed(run.seed, "fold", run.fold)


def backbone_context(weights: str, options: ExecutionOptions) -> BackboneContext:
    """Return what a backbone is told about its initial weights."""
    return BackboneContext(weights, folder=options.weights_folder, download=options.download)


def assemble(
    run: Run, table: SampleTable, *, device: torch.device, options: ExecutionOptions
) -> Assembled:
    """Build what the run trains, every random choice from a stream named after its purpose.

    Two methods with the same (seed, fold) share the streams of all they have in common: batches,
    augmentation, initial backbone and head.
    """
    root = run_root(run)
    split = assign(table, run.protocol.split, run.fold)
    if run.smoke:
        split = shrink(table, split)
    loaders = loaders_of(run, table, split, device=device, options=options)
    labels = loaders.training
    streams = torch_generator(root, "loss"), torch_generator(root, "miner")
    parts: LossParts = _build(run.loss, _build_context(run, labels, streams[0]))
    miner = _build(run.miner, _build_context(run, labels, streams[1])) if run.miner else None
    learner = make_learner(
        _encoder(run, parts, root=root, options=options),
        parts,
        miner=miner,
        training=run.protocol.training,
        device=device,
        generators=streams,
    )
    if options.compile:
        learner.encoder.backbone.compile()  # in place: names in checkpoints stay as they are
    return Assembled(
        table=table,
        split=split,
        labels=labels,
        loaders=loaders,
        learner=learner,
        distance=_distance(run, parts),
        device=device,
        backend=options.backend,
        memory=options.memory,
        compiled=options.compile,
    )


def _distance(run: Run, parts: LossParts) -> Distance | str:
    """Return what ranks: the loss's own distance is one of embeddings, never of features."""
    evaluation = run.protocol.evaluation
    own = parts.distance if evaluation.layer == "embeddings" else None
    return own or evaluation.distance


def shrink(table: SampleTable, split: Split) -> Split:
    """Keep a few images of a few classes in every part but train."""
    same_sides = np.array_equal(split.query, split.gallery)
    query = few(table, split.query)
    gallery = query if same_sides else few(table, split.gallery)
    return replace(split, val=few(table, split.val), query=query, gallery=gallery)


def few(table: SampleTable, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return rows of a few images of a few classes."""
    classes = np.unique(table.label[rows])[:SMOKE_CLASSES]
    kept = [rows[table.label[rows] == one][:SMOKE_IMAGES_PER_CLASS] for one in classes]
    return np.concatenate(kept) if kept else rows


def loaders_of(
    run: Run | Feed,
    table: SampleTable,
    split: Split,
    *,
    device: torch.device,
    options: ExecutionOptions,
) -> Loaders:
    """Return what gives the run its batches, a function of seed, fold and epoch."""
    root, labels = run_root(run), training_labels(table, split)
    training = run.protocol.training
    context = SamplerContext(
        labels=labels.labels,
        batch_size=training.batch_size,
        iterations=training.iterations_per_epoch,
        seed=derive_seed(root, "batches"),
    )
    card = run.backbone.card
    assert isinstance(card, BackboneSpec), card
    return make_loaders(
        table,
        split,
        run.protocol.transforms,
        card.preprocessing,
        sampler=_build(run.sampler, context),
        seed=derive_seed(root, "augment"),
        eval_batch_size=run.protocol.evaluation.batch_size,
        workers=options.workers,
        scale_on_device=options.scale_on_device,
        device=str(device),
        cache=options.cache,
    )


def _build_context(run: Run, labels: TrainLabels, generator: Generator) -> BuildContext:
    card = run.backbone.card
    assert isinstance(card, BackboneSpec), card
    return BuildContext(
        num_classes=len(labels.class_ids),
        embedding_dim=run.protocol.head.dim,
        feature_dim=card.features,
        generator=generator,
        class_counts=tuple(np.bincount(labels.labels, minlength=len(labels.class_ids)).tolist()),
        num_samples=len(labels.labels),
        batch_size=run.protocol.training.batch_size,
        total_epochs=run.protocol.training.epochs,
        build_loss=loss_builder(),
    )


def _encoder(run: Run, parts: LossParts, *, root: int, options: ExecutionOptions) -> Encoder:
    card = run.backbone.card
    assert isinstance(card, BackboneSpec), card
    context = backbone_context(run.protocol.backbone.weights, options)
    # Constructors of torch draw from the global stream; it is borrowed, seeded, and given back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(root, "backbone"))
        backbone: nn.Module = _build(run.backbone, context)
    return build_encoder(
        backbone,
        num_features=card.features,
        head=run.protocol.head,
        custom_head=parts.head,
        generator=torch_generator(root, "head"),
    )


def _build(chosen: Chosen, context: object) -> Any:  # noqa: ANN401 - each kind builds its own
    """Call the card; what goes wrong inside a plugin names the plugin."""
    try:
        return chosen.card.build(chosen.params, context)
    except HarnessError:
        raise
    except Exception as error:
        card, origin = chosen.card, chosen.origin
        raise HarnessError(
            f"{card.kind} {card.name!r} of {origin.distribution} {origin.version} could not be "
            f"built: {type(error).__name__}: {error}"
        ) from error
