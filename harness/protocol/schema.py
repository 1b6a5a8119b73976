"""The schema of a protocol.

The models here are the schema of `protocols/*.yaml`. Every key is in the schema, every number has
a range, and unknown keys are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.documents import canonical_json, keys_at
from harness.errors import did_you_mean

SCHEMA_VERSION = 1

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Side = Annotated[int, Field(ge=1, le=4096, description="pixels")]


@dataclass(frozen=True, slots=True)
class Added:
    """Mark of a field that came after the first release of the schema.

    At its default it is not content, so protocols written before it keep their digests.
    """


class Section(BaseModel):
    """Base of every part of a protocol: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __hash__(self) -> int:
        """Hash the content; equal sections hash equally although parameters are mappings."""
        return hash(canonical_json(self.model_dump(mode="json")))


class Component(Section):
    """A registered component with its parameters.

    Attributes:
        name: Short name or `dist:name`.
        params: Checked by the component's own model when the run is planned.
    """

    name: str = Field(min_length=1)
    params: dict[str, Any] = Field(default_factory=dict)


# --- data ---------------------------------------------------------------------------------------


class SplitRule(Section):
    """How classes are divided into train, val and test.

    Attributes:
        scheme: `mlrc`: test is the second half of the sorted classes; the first half is divided
            into `folds` contiguous blocks, one of which validates (see `harness.data.splits`).
            `half_classes`: the same test half, train is the whole first half, no validation.
            `official`: parts as the data set defines them (class-disjoint or an error).
            `closed_set`: official parts that share classes; never comparable with the others.
        folds: Number of validation blocks; 0 means no validation part (train is everything that
            is not test). `mlrc` needs at least 2.
        use_folds: How many of the folds the protocol runs; None runs all.
    """

    scheme: Literal["mlrc", "half_classes", "official", "closed_set"]
    folds: Annotated[int, Field(ge=0, le=20)] = 0
    use_folds: Annotated[int, Field(ge=1, le=20)] | None = None

    @model_validator(mode="after")
    def _check_folds(self) -> SplitRule:
        if self.scheme == "mlrc" and self.folds < 2:  # noqa: PLR2004 - one block would validate all
            raise ValueError("scheme 'mlrc' needs folds of at least 2")
        if self.scheme in {"half_classes", "closed_set"} and self.folds:
            raise ValueError(f"scheme {self.scheme!r} has no validation folds; set folds: 0")
        if self.use_folds is not None and self.use_folds > max(1, self.folds):
            raise ValueError(f"use_folds {self.use_folds} is more than folds {self.folds}")
        return self

    @property
    def fold_indices(self) -> tuple[int, ...]:
        """Folds that one complete evaluation of a method runs."""
        return tuple(range(self.use_folds or max(1, self.folds)))


Interpolation = Annotated[Literal["bilinear", "bicubic"], Added()]


class Resize(Section):
    """Scale the shorter side to `size`, keeping the aspect ratio (antialiased)."""

    step: Literal["resize"]
    size: Side
    interpolation: Interpolation = "bilinear"


class CenterCrop(Section):
    """Cut the central square."""

    step: Literal["center_crop"]
    size: Side


class RandomCrop(Section):
    """Cut a square at a uniformly random place, after padding each border by `padding`."""

    step: Literal["random_crop"]
    size: Side
    padding: Annotated[int, Field(ge=0, le=512)] = 0


class RandomResizedCrop(Section):
    """Cut a random box and scale it to a square of side `size`."""

    step: Literal["random_resized_crop"]
    size: Side
    scale: tuple[Positive, Positive] = (0.08, 1.0)
    ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    interpolation: Interpolation = "bilinear"


class HorizontalFlip(Section):
    """Mirror left and right with probability `p`."""

    step: Literal["horizontal_flip"]
    p: Probability = 0.5


class RandomAffine(Section):
    """Rotate, shift and scale at random, uniformly inside the given bounds.

    Attributes:
        degrees: Largest rotation to either side.
        translate: Largest shift, as a fraction of the side.
        scale: Smallest and largest factor.
    """

    step: Literal["random_affine"]
    degrees: Annotated[float, Field(ge=0, le=180)] = 0
    translate: Probability = 0
    scale: tuple[Positive, Positive] = (1.0, 1.0)


TransformStep = Annotated[
    Resize | CenterCrop | RandomCrop | RandomResizedCrop | HorizontalFlip | RandomAffine,
    Field(discriminator="step"),
]


class Transforms(Section):
    """Image pipelines; channel order, range, mean and std follow from the backbone's card."""

    train: tuple[TransformStep, ...]
    eval: tuple[TransformStep, ...]


# --- encoder ------------------------------------------------------------------------------------


class BackboneChoice(Component):
    """The backbone and its initial weights.

    Attributes:
        weights: `none` (random), a key of the card (`imagenet`), or a path.
    """

    weights: str = "imagenet"


class Head(Section):
    """Features to embeddings.

    Attributes:
        kind: `linear`, or `identity` (embedding = pooled features).
        dim: D, the embedding size; for `identity` it must equal the backbone's features.
        pooling: How maps become features: `avg`, or `avg+max` (the sum of both).
        layer_norm: LayerNorm without affine parameters after the linear layer.
        normalize: L2-normalise inside the encoder, so that the loss sees unit vectors.
        init: Of the linear layer: `torch` (its default) or `kaiming_fan_out` (zero bias).
    """

    kind: Literal["linear", "identity"] = "linear"
    dim: Annotated[int, Field(ge=1, le=16384)]
    pooling: Literal["avg", "avg+max"] = "avg"
    layer_norm: bool = False
    normalize: bool = False
    init: Literal["torch", "kaiming_fan_out"] = "torch"


# --- training -----------------------------------------------------------------------------------

OPTIMIZER_OPTIONS: dict[str, frozenset[str]] = {
    "SGD": frozenset({"momentum", "dampening", "nesterov"}),
    "Adam": frozenset({"betas", "eps", "amsgrad"}),
    "AdamW": frozenset({"betas", "eps", "amsgrad"}),
    "NAdam": frozenset({"betas", "eps", "momentum_decay", "decoupled_weight_decay"}),
    "RAdam": frozenset({"betas", "eps", "decoupled_weight_decay"}),
    "Adamax": frozenset({"betas", "eps"}),
    "Adagrad": frozenset({"lr_decay", "initial_accumulator_value", "eps"}),
    "Adadelta": frozenset({"rho", "eps"}),
    "RMSprop": frozenset({"alpha", "eps", "momentum", "centered"}),
}


class Optimizer(Section):
    """A torch optimizer by its class name.

    Attributes:
        name: Class in `torch.optim`.
        lr: Learning rate.
        weight_decay: Coupled or decoupled, as the optimizer defines it.
        options: Its further keyword arguments (`momentum`, `betas`, …).
    """

    name: str
    lr: Annotated[float, Field(ge=0, le=100)]
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.0
    options: dict[str, float | bool | tuple[float, float]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_options(self) -> Optimizer:
        if self.name not in OPTIMIZER_OPTIONS:
            raise ValueError(
                f"unknown optimizer {self.name!r}; one of {sorted(OPTIMIZER_OPTIONS)}"
            )
        unknown = sorted(set(self.options) - OPTIMIZER_OPTIONS[self.name])
        if unknown:
            known = sorted(OPTIMIZER_OPTIONS[self.name])
            raise ValueError(f"{self.name} has no option {unknown[0]!r}; it has {known}")
        return self


class StepSchedule(Section):
    """Multiply every learning rate by `gamma` after each `every` epochs."""

    every: Annotated[int, Field(ge=1)]
    gamma: Annotated[float, Field(gt=0, le=1)]


class Warmup(Section):
    """Epochs at the start in which the backbone stays as it is.

    Attributes:
        epochs: How many.
        inside_budget: Whether they count as epochs of the budget and of the schedule (Proxy
            Anchor) or come before epoch 0 without a step of the schedule (HIST).
        backbone: `frozen` computes no gradients for it; `lr_0` does, and takes steps of length
            zero, so that the moments of Adam are filled when it begins to learn (HIER).
    """

    epochs: Annotated[int, Field(ge=0, le=1000)] = 0
    inside_budget: bool = True
    backbone: Annotated[Literal["frozen", "lr_0"], Added()] = "frozen"


class Clip(Section):
    """Gradient clipping: of each value to ±`value`, or of the total norm to `norm`."""

    value: Positive | None = None
    norm: Positive | None = None

    @model_validator(mode="after")
    def _check_one(self) -> Clip:
        if (self.value is None) == (self.norm is None):
            raise ValueError("clip takes either value or norm")
        return self


class BatchNorm(Section):
    """What the backbone's batch normalisation may change.

    Attributes:
        statistics: `train` or `frozen` (running statistics of the weights are used and kept).
        affine: Scale and shift: `train`, `frozen`, or `after_warmup` (frozen until the warm-up
            ends, as the code of Proxy Anchor and HIST does; without a warm-up that code keeps
            them frozen, which is `frozen` here).
        momentum: Weight of a batch in running statistics; None leaves the backbone's own. The
            BN-Inception of Proxy Anchor and its descendants has 0.9.
    """

    statistics: Literal["train", "frozen"] = "train"
    affine: Literal["train", "frozen", "after_warmup"] = "train"
    momentum: Annotated[Annotated[float, Field(gt=0, le=1)] | None, Added()] = None


class Training(Section):
    """The budget and how it is spent.

    Attributes:
        batch_size: B.
        epochs: Upper limit of the budget; 0 evaluates the untrained encoder only.
        iterations_per_epoch: Batches per epoch; None means one pass of the sampler.
        optimizer: For backbone and head.
        head_lr_scale: Factor on `optimizer.lr` for the head.
        loss_optimizer: For the loss's own parameters; None puts them into `optimizer`, with the
            learning rates the loss asks for.
        schedule: Learning-rate steps; None keeps them constant.
        warmup: Epochs with a frozen backbone.
        clip: Of encoder and loss parameters, each on their own.
        batchnorm: Of the backbone.
        precision: `float32`, or autocast to `bfloat16` / `float16` on a GPU.
    """

    batch_size: Annotated[int, Field(ge=2, le=65536)]
    epochs: Annotated[int, Field(ge=0, le=100_000)]
    iterations_per_epoch: Annotated[int, Field(ge=1)] | None = None
    optimizer: Optimizer
    head_lr_scale: Positive = 1.0
    loss_optimizer: Optimizer | None = None
    schedule: StepSchedule | None = None
    warmup: Warmup = Warmup()
    clip: Clip | None = None
    batchnorm: BatchNorm = BatchNorm()
    precision: Literal["float32", "bfloat16", "float16"] = "float32"


class Selection(Section):
    """Which epoch's encoder is tested, and when training stops early.

    Attributes:
        rule: `best_val` keeps the epoch with the best validation `metric`; `last` the final one.
        metric: Compared on the validation part.
        every: Epochs between evaluations.
        patience: Stop at an evaluation more than this many epochs after the best; None never.
        untrained: Whether epoch 0, before any step, may be selected.
    """

    rule: Literal["best_val", "last"]
    metric: str = "map_at_r"
    every: Annotated[int, Field(ge=1)] = 1
    patience: Annotated[int, Field(ge=0)] | None = None
    untrained: bool = False


class Evaluation(Section):
    """How embeddings become numbers.

    Attributes:
        metrics: Names, each once, such as `map_at_r` or `recall_at_10`; the first is the headline.
        distance: Ranking distance, unless the loss brings its own.
        normalize: L2-normalise embeddings before ranking.
        batch_size: Images per forward pass; it never changes a result by more than rounding.
        neighbors: How many nearest neighbours of each query are stored.
        oracle: Also test at each evaluation, reported only in columns named `oracle_…`.
        layer: What ranks an image: `embeddings` of the head, or the backbone's pooled `features`,
            which know nothing of a distance that the loss brings.
        diagnostics: Metrics that need no ranking, such as `spectral_decay`, measured on the train
            and the test part at each evaluation. They cost time and change no number: the field
            is outside the digest, and `--set` may touch it under every protocol.
    """

    metrics: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "map_at_r",
        "r_precision",
        "precision_at_1",
    )
    distance: Literal["cosine", "euclidean"] = "cosine"
    normalize: bool = True
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 128
    neighbors: Annotated[int, Field(ge=0, le=1000)] = 10
    oracle: bool = False
    layer: Annotated[Literal["embeddings", "features"], Added()] = "embeddings"
    diagnostics: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check_metrics(self) -> Evaluation:
        for field in ("metrics", "diagnostics"):
            names = getattr(self, field)
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"{field} name {name!r} twice")
        return self


# --- the whole ----------------------------------------------------------------------------------


class Expectation(Section):
    """What a reader should expect of one run; documentation, outside the digest."""

    time: str = ""
    score: str = ""


class Protocol(Section):
    """One benchmark.

    Attributes:
        schema_version: Of this model.
        name: Equal to the file's name.
        version: Raised when anything inside the digest changes.
        summary: One line.
        paper: Where the protocol was published.
        expected: Time and score of one run.
        caveats: What a reader of the numbers must know.
        open: Dotted paths of the fields that belong to the method, not to the protocol.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    version: Annotated[int, Field(ge=1)] = 1
    summary: str
    paper: str = ""
    expected: Expectation = Expectation()
    caveats: tuple[str, ...] = ()
    open: tuple[str, ...] = ("loss", "miner")

    dataset: Component
    split: SplitRule
    transforms: Transforms
    backbone: BackboneChoice
    head: Head
    sampler: Component
    loss: Component | None = None
    miner: Component | None = None
    training: Training
    selection: Selection
    evaluation: Evaluation = Evaluation()
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)

    @model_validator(mode="after")
    def _check_selection(self) -> Protocol:
        if self.selection.rule == "best_val" and not self.split.folds:
            raise ValueError("selection.rule best_val needs a validation part, split.folds is 0")
        return self

    @model_validator(mode="after")
    def _check_open(self) -> Protocol:
        for path in self.open:
            wrong = wrong_with_path(path)
            if wrong:
                raise ValueError(f"open: {wrong}")
        return self


# --- paths of fields ----------------------------------------------------------------------------

COMPONENT_FIELDS: dict[str, type[Component]] = {
    "dataset": Component,
    "backbone": BackboneChoice,
    "sampler": Component,
    "loss": Component,
    "miner": Component,
}
IDENTITY = frozenset(
    {
        "schema_version",
        "name",
        "version",
        "summary",
        "paper",
        "expected",
        "caveats",
        "open",
        "seeds",
    }
)
"""Fields that say which protocol this is; no method may change them."""


def full_path(path: str) -> tuple[str, ...]:
    """Return the keys of a dotted path; `loss.tau` is short for `loss.params.tau`."""
    keys = tuple(path.split("."))
    component = COMPONENT_FIELDS.get(keys[0])
    if component and len(keys) > 1 and keys[1] not in component.model_fields:
        return (keys[0], "params", *keys[1:])
    return keys


def wrong_with_path(path: str) -> str:
    """Return why a dotted path names no field that a method could set, or an empty string."""
    keys = full_path(path)
    if keys[0] in IDENTITY:
        return f"{path!r} belongs to the protocol itself"
    for depth, key in enumerate(keys):
        valid = keys_at(Protocol, keys[:depth])
        try:
            keys_at(Protocol, keys[: depth + 1])
        except KeyError:
            near = did_you_mean(key, valid or ())
            return f"{path!r} names no field" + (f" ({near})" if near else "")
    return ""
